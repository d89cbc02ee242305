/* A file of what is seen, from the same routes as every client's: asked for as CSV, saved under a name. */
(() => {
  "use strict";
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-csv]");
    if (!button) return;
    const answer = await fetch(button.dataset.csv, { headers: { Accept: "text/csv" } }).catch(() => null);
    if (!answer || !answer.ok) {
      button.textContent = "Not saved: the service does not answer";
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
})();
