// What browsers keep for a page. They may be told to keep nothing, and then throw.

class Kept {
  #storage = null;

  constructor(storage) {
    try {
      this.#storage = storage();
    } catch {
      // Then nothing is kept for longer than the page.
    }
  }

  get(key) {
    return this.#storage?.getItem(PREFIX + key) ?? null;
  }

  set(key, value) {
    try {
      this.#storage?.setItem(PREFIX + key, value);
    } catch {
      // There is no room.
    }
  }

  remove(key) {
    this.#storage?.removeItem(PREFIX + key);
  }
}

const PREFIX = "mcp-pool.";

/** Until the tab is closed. */
export const tab = new Kept(() => sessionStorage);

/** For good. */
export const browser = new Kept(() => localStorage);
