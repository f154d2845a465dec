"use strict";

// FaceChain in the WebUI.
const facechain = {
    press(id) {
        const button = gradioApp().querySelector(`#${id}`);
        if (button) button.click();
    },

    // gradio 3 takes a typed name only with Enter; people type it and go on to the next field.
    commitTyped(id) {
        const input = gradioApp().querySelector(`#${id} input`);
        if (!input) return;
        input.addEventListener("blur", () => {
            if (input.value) input.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
        }, {capture: true});
    },

    // gradio fires no load event for a tab's own Blocks, so the page asks for its state itself:
    // a running training shows again after a reload, people and styles are those stored now.
    start() {
        this.commitTyped("facechain_person");
        this.press("facechain_refresh");
        for (const where of ["txt2img", "img2img"]) this.press(`facechain_${where}_refresh`);
    },
};

onUiLoaded(() => facechain.start());
