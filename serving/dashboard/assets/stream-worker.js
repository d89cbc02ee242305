/* Holds the one event stream of all tabs: see live.js. */
"use strict";
const ports = new Set();
let state = "waiting";

const tell = (message) => ports.forEach((port) => port.postMessage(message));

function change(next) {
  state = next;
  tell(next);
}

function open() {
  const stream = new EventSource("/v1/stream");
  stream.onopen = () => change("open");
  stream.onerror = () => {
    change("lost");
    if (stream.readyState === EventSource.CLOSED) setTimeout(open, 3000); // refused, not merely cut: nobody else tries again
  };
  stream.addEventListener("commit", () => tell("new")); // the last of what a commit brought
}

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === "bye") return ports.delete(port);
    ports.add(port);
    return port.postMessage(state);
  };
  port.start();
};
open();
