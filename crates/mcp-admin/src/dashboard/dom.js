// Changes of the page in place. Data is text and never becomes markup.

/** Sets a text if it differs: writing the same again would undo a selection. */
export function say(node, text) {
  const next = String(text ?? "");
  if (node.textContent !== next) node.textContent = next;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** Sets a text, and hides its element if it is empty. */
export function sayOrHide(node, text) {
  say(node, text);
  show(node, Boolean(text));
}

/** Sets an attribute if it differs, and removes it for `null`. */
export function attribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function byId(id) {
  return document.getElementById(id);
}

/** A copy of a template, and its elements by their `data-part`. */
export function fromTemplate(id) {
  const element = byId(id).content.firstElementChild.cloneNode(true);
  const parts = Object.create(null);
  for (const part of element.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return { element, parts };
}

/**
 * A list that shows values in their order, and keeps an item for as long as there is a value with its key.
 * An item is `{ element, update(value) }`.
 */
export class KeyedList {
  #parent;
  #make;
  #compare;
  #items = new Map();

  /** `compare`: the order of items, if it is not that of their values. */
  constructor(parent, make, compare) {
    this.#parent = parent;
    this.#make = make;
    this.#compare = compare;
  }

  get(key) {
    return this.#items.get(key);
  }

  values() {
    return this.#items.values();
  }

  /** `entries`: keys and values. */
  update(entries) {
    const wanted = new Map(entries);
    for (const [key, item] of this.#items) {
      if (wanted.has(key)) continue;
      item.element.remove();
      this.#items.delete(key);
    }
    for (const [key, value] of wanted) {
      let item = this.#items.get(key);
      if (!item) {
        item = this.#make(key);
        this.#items.set(key, item);
      }
      item.update(value);
    }
    const items = [...wanted.keys()].map((key) => this.#items.get(key));
    this.#place(this.#compare ? items.sort(this.#compare) : items);
  }

  /** Sorts the items. */
  sort() {
    this.#place([...this.#items.values()].sort(this.#compare));
  }

  // From the last to the first: elements before the list, such as a heading, stay there.
  #place(items) {
    let after = null;
    for (const { element } of items.toReversed()) {
      if (element.nextElementSibling !== after || element.parentNode !== this.#parent) {
        move(this.#parent, element, after);
      }
      after = element;
    }
  }
}

/** Moves an element and keeps the focus. */
function move(parent, element, before) {
  if (element.parentNode === parent && parent.moveBefore) {
    parent.moveBefore(element, before);
    return;
  }
  const focused = document.activeElement;
  const holds = element.contains(focused);
  parent.insertBefore(element, before);
  if (holds) focused.focus({ preventScroll: true });
}
