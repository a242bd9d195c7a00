import { byId } from "../dom.ts";

/** Wires the buttons that open a dialog of index.html; Esc and its own button close it. */
export function wireDialog(id: string, onOpen: (dialog: HTMLDialogElement) => void = () => {}): void {
  const dialog = byId(id, HTMLDialogElement);
  for (const button of document.querySelectorAll<HTMLElement>(`[data-opens="${id}"]`)) {
    button.addEventListener("click", () => {
      onOpen(dialog);
      dialog.showModal();
    });
  }
  dialog.querySelector("[data-close]")?.addEventListener("click", () => dialog.close());
  // A click on the dialog element itself is one on the backdrop: its content covers the rest.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
