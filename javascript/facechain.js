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

// Our pages in a language of their own, whatever the rest of the WebUI is in: the WebUI's localisation knows only one name for all files.
facechain.language = {
    roots: "#tab_facechain, #facechain_txt2img_panel, #facechain_img2img_panel, #settings_facechain",
    script: document.currentScript ? document.currentScript.src : "",
    words: {},

    async start() {
        const chosen = opts.facechain_language;
        if (!chosen || chosen === "As the WebUI" || !this.script) return;
        const file = this.script.replace(/javascript\/facechain\.js.*$/, `localizations/${chosen}.json`);
        const answer = await fetch(file);
        if (!answer.ok) {
            console.error(`FaceChain: ${file} cannot be loaded (${answer.status})`);
            return;
        }
        this.words = await answer.json();
        for (const root of gradioApp().querySelectorAll(this.roots)) {
            this.translate(root);
            const watch = new MutationObserver((changes) => {
                for (const change of changes) {
                    if (change.type === "characterData") this.text(change.target);
                    for (const node of change.addedNodes) this.translate(node);
                }
            });
            watch.observe(root, {childList: true, subtree: true, characterData: true});
        }
    },

    text(node) {
        const said = node.textContent.trim(), parent = node.parentElement;
        const translated = this.words[said];
        if (translated && translated !== said && parent && !["SCRIPT", "STYLE", "TEXTAREA"].includes(parent.nodeName)) {
            node.textContent = node.textContent.replace(said, () => translated);
        }
    },

    translate(node) {
        if (node.nodeType === Node.TEXT_NODE) {
            this.text(node);
            return;
        }
        if (node.nodeType !== Node.ELEMENT_NODE) return;
        const walk = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
        const found = [];
        while (walk.nextNode()) found.push(walk.currentNode);
        for (const text of found) this.text(text);
        for (const element of [node, ...node.querySelectorAll("[title], [placeholder]")]) {
            for (const name of ["title", "placeholder"]) {
                const translated = this.words[element.getAttribute(name)];
                if (translated) element.setAttribute(name, translated);
            }
        }
    },
};

onUiLoaded(() => {
    facechain.start();
    onOptionsAvailable(() => facechain.language.start());
    gradioApp().addEventListener("click", (event) => {
        const button = event.target.closest("#facechain_root [data-send]");
        if (button) facechain.send(button);
    });
});
onUiTabChange(() => facechain.shown());
