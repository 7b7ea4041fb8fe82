// Storage of the browser, which throws if it is disabled.

class Kept {
  #storage = null;

  constructor(storage) {
    try {
      this.#storage = storage();
    } catch {
      // Nothing is kept beyond the page then.
    }
  }

  get(key) {
    return this.#storage?.getItem(PREFIX + key) ?? null;
  }

  set(key, value) {
    try {
      this.#storage?.setItem(PREFIX + key, value);
    } catch {
      // The quota is exceeded.
    }
  }

  remove(key) {
    this.#storage?.removeItem(PREFIX + key);
  }
}

const PREFIX = "mcp-pool.";

/** Until the tab is closed. */
export const tab = new Kept(() => sessionStorage);

/** Without end. */
export const browser = new Kept(() => localStorage);
