// A click on a figure (or Enter, when it has the focus) shows it as large as the window; another, or Escape, closes it.
// Without this script the figures stay as they are.
document.addEventListener("DOMContentLoaded", () => {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Sphinx's search would take Escape for itself
  document.body.append(dialog);
  for (const picture of document.querySelectorAll("article img")) {
    const button = document.createElement("button");
    button.className = "enlarge";
    button.type = "button";
    button.title = "Enlarge the figure";
    const link = picture.closest("a");
    (link ?? picture).replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => {
      const copy = picture.cloneNode();
      copy.removeAttribute("style");
      dialog.replaceChildren(copy);
      dialog.showModal();
    });
  }
});
