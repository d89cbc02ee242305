/* What one key does. None acts while the reader types, and none where a key is held down with another. */
(() => {
  "use strict";
  const ROWS = "#now-body tbody tr, #events-body tbody tr";
  const typing = (element) => element.matches("input, textarea, select, [contenteditable], [role=combobox]");

  /* The row that has the focus moves up or down; Enter follows its link, as anywhere. */
  function step(by) {
    const rows = [...document.querySelectorAll(ROWS)];
    const at = rows.indexOf(document.activeElement.closest("tr"));
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
    if (next) (next.hasAttribute("tabindex") ? next : next.querySelector("td a")).focus();
  }

  /* Dash's lists put a hidden field before their button to catch the Tab key; a reader's software then meets a field that
   * it is told not to see. The button takes the Tab key itself. */
  new MutationObserver(() => {
    for (const field of document.querySelectorAll(".dash-dropdown-focus-target:not(:disabled)")) {
      field.disabled = true;
      field.nextElementSibling.tabIndex = 0;
    }
  }).observe(document.documentElement, { subtree: true, childList: true });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const search = document.getElementById("now-search");
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  });
})();
