"use strict";

// FaceChain in the WebUI.
const facechain = {
    heard: new Set(),

    press(id) {
        const button = gradioApp().querySelector(`#${id}`);
        if (button) button.click();
    },

    // gradio shows a button before it listens to it, long before on a busy machine: press until the press was heard.
    insist(id, left = 120) {
        if (this.heard.has(id) || left === 0) return;
        this.press(id);
        setTimeout(() => this.insist(id, left - 1), 500);
    },

    // gradio fires no load event for a tab's own Blocks, so the page asks for its state itself:
    // a running training shows again after a reload, people and styles are those stored now.
    start() {
        for (const id of ["facechain_refresh", "facechain_txt2img_refresh", "facechain_img2img_refresh"]) this.insist(id);
    },

    // A portrait's "Send to": its file and the page go into hidden boxes, and what listens there hands it to the WebUI's own paste button.
    send(button) {
        for (const [id, value] of [["file", button.dataset.file], ["target", button.dataset.send]]) {
            const box = gradioApp().querySelector(`#facechain_send_${id} textarea`);
            if (!box) return;
            box.value = value;
            updateInput(box);
        }
        this.press("facechain_send_load");
    },

    // The WebUI serves its page before the checkpoint is loaded; then there was none to list.
    shown() {
        const content = get_uiCurrentTabContent();
        const chosen = gradioApp().querySelector("#facechain_checkpoint input");
        if (content && content.id === "tab_facechain" && chosen && !chosen.value) this.press("facechain_refresh");
    },
};

onUiLoaded(() => {
    facechain.start();
    gradioApp().addEventListener("click", (event) => {
        const button = event.target.closest("#facechain_root [data-send]");
        if (button) facechain.send(button);
    });
});
onUiTabChange(() => facechain.shown());
