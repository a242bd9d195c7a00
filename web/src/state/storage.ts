// localStorage with the three things that go wrong in it handled: it may be forbidden, full, or hold
// something that this version did not write.

const PREFIX = "cloister.";

export type StorageFault = "unavailable" | "full";

/** Returns what was stored under `key`, or null when there is nothing readable. */
export function load(key: string): unknown {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** Stores `value`; returns what stood in the way, or null. */
export function save(key: string, value: unknown): StorageFault | null {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return null;
  } catch (error) {
    return error instanceof DOMException && error.name === "QuotaExceededError" ? "full" : "unavailable";
  }
}

/** Removes one entry: half of what was kept is worse than nothing. */
export function remove(key: string): void {
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // Forbidden storage holds nothing to remove.
  }
}

/** Removes everything this page ever stored, and nothing of others on the same origin. */
export function clearAll(): void {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX)) localStorage.removeItem(key);
    }
  } catch {
    // Forbidden storage holds nothing to remove.
  }
}
