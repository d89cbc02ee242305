/* Promoting a model and rolling back: asked about first, then done by the service, which says no to whoever may not. */
(() => {
  "use strict";
  const QUESTIONS = {
    promote: (version) => [`Make version ${version} champion?`, "It judges from the next readings on. The present champion can be brought back.", `/v1/models/${version}/promote`],
    rollback: () => ["Roll back?", "The champion before the present one judges from the next readings on.", "/v1/models/rollback"],
  };

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-model]");
    if (!button || button.disabled) return;
    const [title, text, path] = QUESTIONS[button.dataset.model](button.dataset.version);
    const dialog = document.getElementById("ask-dialog");
    const said = dialog.querySelector("p");
    dialog.querySelector("h2").textContent = title;
    said.textContent = text;
    said.className = "";
    const why = dialog.querySelector("textarea"); // only where the gate refused: then a reason is needed, and kept
    const refused = button.dataset.refused;
    why.hidden = refused === undefined;
    why.required = !why.hidden;
    why.value = "";
    if (!why.hidden) said.textContent = `The gate refused it: ${refused}. ${text}`;
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      if (event.submitter && event.submitter.value === "cancel") return dialog.close();
      const force = why.hidden
        ? {}
        : { body: JSON.stringify({ force: why.value }), headers: { "Content-Type": "application/json" } };
      try {
        const answer = await fetch(path, { method: "POST", ...force });
        if (!answer.ok) throw new Error((await answer.json()).detail);
        dialog.close();
        document.dispatchEvent(new Event("stale"));
      } catch (error) {
        said.textContent = `Not done: ${error.message}`;
        said.className = "wrong";
      }
    };
    dialog.showModal();
  });
})();
