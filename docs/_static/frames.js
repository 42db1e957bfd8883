"use strict";
// A framed graph follows the system's theme by itself, but not this page's button: Chromium passes no color-scheme on to
// a frame. It is told by a message, for files opened from a disk may not touch each other.
const frames = [...document.querySelectorAll("iframe.graph")];
const tell = (frame) => frame.contentWindow.postMessage({theme: document.body.dataset.theme}, "*");
for (const frame of frames) frame.addEventListener("load", () => tell(frame));
const tellAll = () => frames.forEach(tell);
tellAll();
new MutationObserver(tellAll).observe(document.body, {attributeFilter: ["data-theme"]});
