import type { PickedFile } from "./open.ts";

/** Enough to find the first files of a large folder without walking all of it. */
const MOST_ENTRIES = 5000;

/** Lets files and folders be dropped anywhere on the page. `overlay` is shown while something hovers. */
export function acceptDrops(overlay: HTMLElement, onFiles: (files: PickedFile[]) => void): void {
  let depth = 0;
  const show = (visible: boolean) => {
    overlay.hidden = !visible;
  };
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;

  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  // In the capture phase: the editor has its own idea of dropped files.
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault(), { capture: true });
  addEventListener(
    "drop",
    (event) => {
      if (!hasFiles(event) || !event.dataTransfer) return;
      event.preventDefault();
      event.stopPropagation();
      depth = 0;
      show(false);
      void gather(event.dataTransfer).then(onFiles);
    },
    { capture: true },
  );
}

/** The entries must be taken before the event ends; reading them may take longer. */
async function gather(transfer: DataTransfer): Promise<PickedFile[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const plain = [...transfer.files];
  const found: PickedFile[] = [];
  if (entries.some((entry) => entry?.isDirectory)) {
    for (const entry of entries) if (entry) await walk(entry, found);
  } else {
    found.push(...plain.map((file) => ({ file, name: file.name })));
  }
  return found;
}

async function walk(entry: FileSystemEntry, found: PickedFile[]): Promise<void> {
  if (found.length >= MOST_ENTRIES) return;
  if (entry.isFile) {
    const file = await new Promise<File | null>((resolve) => {
      (entry as FileSystemFileEntry).file(resolve, () => resolve(null));
    });
    if (file) found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  if (/^(\.|__pycache__$|node_modules$)/.test(entry.name)) return;
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // Each call returns some of the children, and none when there are no more.
    const children = await new Promise<FileSystemEntry[]>((resolve) => {
      reader.readEntries(resolve, () => resolve([]));
    });
    if (children.length === 0) return;
    for (const child of children) await walk(child, found);
  }
}
