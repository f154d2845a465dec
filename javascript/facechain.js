"use strict";

// FaceChain in the WebUI.
const facechain = {
    press(id) {
        const button = gradioApp().querySelector(`#${id}`);
        if (button) button.click();
    },

    // gradio fires no load event for a tab's own Blocks, so the page asks for its state itself:
    // a running training shows again after a reload, people and styles are those stored now.
    start() {
        this.press("facechain_refresh");
        for (const where of ["txt2img", "img2img"]) this.press(`facechain_${where}_refresh`);
    },

    // The WebUI serves its page before the checkpoint is loaded; then there was none to list.
    shown() {
        const content = get_uiCurrentTabContent();
        const chosen = gradioApp().querySelector("#facechain_checkpoint input");
        if (content && content.id === "tab_facechain" && chosen && !chosen.value) this.press("facechain_refresh");
    },
};

onUiLoaded(() => facechain.start());
onUiTabChange(() => facechain.shown());
