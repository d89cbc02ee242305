/* An analyst's word on an event: by its buttons, or by one key on its row. Goes to the service like any client's label;
 * the page is then read again, here and, with the next commit, in every other tab. */
(() => {
  "use strict";
  const WORDS = { real: "Real", false_alarm: "False alarm" };
  const KEYS = { r: "real", f: "false_alarm", n: "note" };
  const done = []; // what can be undone: the events as they were
  let focused = ""; // the event whose row has the focus: rows move when new events come

  const stand = ({ dataset }) => ({ id: dataset.event, label: dataset.label, note: dataset.note });

  function tell(text, undo) {
    const toast = document.getElementById("toast");
    toast.replaceChildren(Object.assign(document.createElement("span"), { textContent: text }));
    if (undo) {
      const button = Object.assign(document.createElement("button"), { textContent: "Undo (u)", className: "button" });
      button.onclick = back;
      toast.append(button);
    }
    toast.className = "toast shown";
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => (toast.className = "toast"), 8000);
  }

  /* Give an event this label, or none; answers whether the service took it. */
  async function put({ id, label, note }) {
    const body = label && JSON.stringify({ label, note });
    const asked = { method: label ? "PUT" : "DELETE", body: body || undefined, headers: { "Content-Type": "application/json" } };
    try {
      const answer = await fetch(`/v1/events/${encodeURIComponent(id)}/label`, asked);
      if (!answer.ok) throw new Error((await answer.json()).detail);
    } catch (error) {
      tell(`Not saved: ${error.message}`);
      return false;
    }
    document.dispatchEvent(new Event("labelled"));
    return true;
  }

  async function say(row, label, note) {
    const before = stand(row);
    if (before.label === label && before.note === note) return;
    if (!(await put({ id: before.id, label, note }))) return;
    done.push(before);
    tell(before.label === label ? "Note saved." : `${WORDS[label]}.`, true);
  }

  async function back() {
    const before = done.at(-1);
    if (!before) return tell("Nothing to undo.");
    if (!(await put(before))) return;
    done.pop();
    tell(before.label ? `Back to: ${WORDS[before.label]}.` : "Back to: not labelled.");
  }

  function note(row) {
    const { label, note: written } = stand(row);
    if (!label) return tell("First say whether it was real (r) or a false alarm (f); a note goes with that.");
    const dialog = document.getElementById("note-dialog");
    const [form, text] = [dialog.querySelector("form"), dialog.querySelector("textarea")];
    text.value = written;
    form.onsubmit = (event) => {
      if (event.submitter && event.submitter.value === "cancel") return;
      say(row, label, text.value.trim());
    };
    text.onkeydown = (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        form.requestSubmit();
      }
    };
    dialog.showModal();
    text.focus();
  }

  function act(row, what) {
    if (what === "note") note(row);
    else say(row, what, row.dataset.note);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-say]");
    if (button) act(button.closest("tr"), button.dataset.say);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, [role=combobox]")) return;
    if (event.key === "u" && document.getElementById("events-body")) back();
    const row = document.activeElement.closest("tr[data-event]");
    if (row && KEYS[event.key]) {
      event.preventDefault();
      act(row, KEYS[event.key]);
    }
  });

  document.addEventListener("focusin", ({ target }) => {
    const row = target.closest("tr[data-event]");
    focused = row ? row.dataset.event : "";
  });

  /* A table that was read again may hold another event in the place that has the focus: the focus goes with the event. */
  new MutationObserver(() => {
    const row = document.activeElement.closest("tr[data-event]");
    if (!focused || (row && row.dataset.event === focused)) return;
    const moved = document.querySelector(`tr[data-event="${CSS.escape(focused)}"]`);
    if (moved) moved.focus();
    else if (row) document.activeElement.blur();
  }).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-event"] });
})();
