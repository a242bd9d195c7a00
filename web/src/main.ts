// Puts the page together. Each part does one thing and knows the others by what is passed to it here.

import type { SourceFile } from "../../crates/cloister-wasm/src/types.ts";
import { AnalysisSession } from "./analysis/session.ts";
import { wireCard } from "./dialogs/card.ts";
import { wireDialog } from "./dialogs/dialog.ts";
import { byId, count, el } from "./dom.ts";
import { EditorPane } from "./editor/pane.ts";
import { FetchedAssets } from "./engine/assets.ts";
import { EngineHost } from "./engine/host.ts";
import { wireExport } from "./export.ts";
import { acceptDrops } from "./files/drop.ts";
import { openFiles, type PickedFile } from "./files/open.ts";
import { Tabs } from "./files/tabs.ts";
import { FindingsView } from "./findings/view.ts";
import type { Ask } from "./findings/words.ts";
import { ModelsDialog } from "./models/dialog.ts";
import { Models } from "./models/models.ts";
import { SAMPLES, sampleNamed } from "./samples/index.ts";
import { CweFilter } from "./settings/cwe-filter.ts";
import { SettingsPanel } from "./settings/panel.ts";
import { Documents } from "./state/documents.ts";
import { Settings } from "./state/settings.ts";
import { clearAll } from "./state/storage.ts";
import { Announcer } from "./status/announcer.ts";
import { EngineBar } from "./status/engine-bar.ts";
import { Messages } from "./status/messages.ts";
import { Theme } from "./theme.ts";

const settings = new Settings();
const theme = new Theme(settings);
const documents = new Documents();
const page = new FetchedAssets();
const host = new EngineHost(page);
const session = new AnalysisSession(host, documents, settings);
const announcer = new Announcer();
const messages = new Messages();

const tell = (message: string) => {
  messages.show(message);
  announcer.say(message);
};

const models = new Models(host, page, settings, tell);
const tabs = new Tabs(documents);
const pane = new EditorPane(documents, settings, theme, session, (message) => announcer.say(message));
new FindingsView(session, {
  jump: (finding) => pane.reveal(finding),
  showNotice: ({ file, range }) => range && pane.revealRange(file, range),
  speaker: ({ files }) => (host.state.phase === "ready" && host.state.info.speaks ? speaker(files) : null),
});
new EngineBar(host, session, announcer, () => models.restart());
const filter = new CweFilter(settings);
new SettingsPanel(settings, host, clearEverything);
wireCard(host);
new ModelsDialog(host, models);
wireDialog("check");
wireExport(host, session, tell);
wireRunButton();
wireSamples();
wireOpening();

settings.changed.on((key) => key === "device" && models.restart());
documents.storageFault.on((fault) => {
  tell(
    fault === "full"
      ? "This is more text than the browser keeps: it will not survive a reload. Save your files, or close some tabs."
      : "This browser keeps nothing for this page: text and settings will not survive a reload.",
  );
});
host.changed.on((state) => state.phase === "ready" && filter.setLabels(state.info.labels));
session.finished.on(({ analysis, files }) => {
  const counts = new Map<string, number>();
  for (const { file } of analysis.findings) counts.set(file, (counts.get(file) ?? 0) + 1);
  tabs.showCounts(counts);
  filter.learnNames(analysis.findings.map(({ cwe, name }) => [cwe, name]));
  const where = files.length > 1 ? ` in ${files.length} files` : "";
  announcer.say(`${count(analysis.findings.length, "finding")}${where}.`);
});
models.switched.on(() => {
  session.reset();
  tabs.showCounts(new Map());
  session.request(0);
});

void models.begin();
session.request(0);

/** Lets the model speak about the very texts that were analysed. */
function speaker(files: readonly SourceFile[]): Ask {
  return {
    start: (finding, onWords) => {
      const file = files.find(({ name }) => name === finding.file);
      if (!file)
        return Promise.reject(new Error("The file of this finding is closed. Open it, then try again."));
      const line = finding.lines[0] ?? finding.range.start.line;
      return host.generate(file, line, { maxTokens: 96, temperature: 0, topP: 1, seed: 0 }, onWords);
    },
    stop: () => void host.cancel().catch(() => {}),
  };
}

function clearEverything(): void {
  if (
    !confirm("Close all files and forget the text, the settings and the added models kept in this browser?")
  )
    return;
  void models.removeAll();
  settings.reset();
  documents.reset();
  session.reset();
  tabs.showCounts(new Map());
  clearAll();
  tell("Everything is cleared: nothing of yours is stored in this browser.");
}

/** One button: it starts an analysis, and cancels the one that runs. */
function wireRunButton(): void {
  const button = byId("run", HTMLButtonElement);
  const update = () => {
    const running = session.state.phase === "running";
    button.textContent = running ? "Cancel" : "Analyse now";
    button.disabled =
      host.state.phase !== "ready" || (session.state.phase === "running" && session.state.cancelling);
  };
  button.addEventListener("click", () => {
    if (session.state.phase === "running") session.cancel();
    else session.request(0);
  });
  session.changed.on(update);
  host.changed.on(update);
  update();
}

function wireSamples(): void {
  const select = byId("samples", HTMLSelectElement);
  for (const { group, samples } of SAMPLES) {
    const options = samples.map(({ name, title }) => el("option", { value: name }, title));
    select.append(el("optgroup", { label: group }, ...options));
  }
  select.addEventListener("change", () => {
    const sample = sampleNamed(select.value);
    select.value = "";
    if (!sample) return;
    documents.add([sample]);
    announcer.say(`Opened the sample ${sample.title}.`);
  });
}

function wireOpening(): void {
  const input = byId("file-input", HTMLInputElement);
  const open = (files: PickedFile[]) => void openFiles(files, documents, tell);
  byId("open", HTMLButtonElement).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    open([...(input.files ?? [])].map((file) => ({ file, name: file.name })));
    // The same file can then be picked again after it changed on the disk.
    input.value = "";
  });
  acceptDrops(byId("drop-overlay", HTMLElement), open);
}
