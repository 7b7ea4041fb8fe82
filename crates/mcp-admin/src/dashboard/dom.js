// What is on the page changes in place. Data is only ever text: nothing here makes markup of it.

/** Sets a text if it is another one; writing the same again would undo a selection. */
export function say(node, text) {
  const next = String(text ?? "");
  if (node.textContent !== next) node.textContent = next;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** A text that hides with nothing to say. */
export function sayOrHide(node, text) {
  say(node, text);
  show(node, Boolean(text));
}

/** Sets an attribute if it is another one, and takes it away for `null`. */
export function attribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function byId(id) {
  return document.getElementById(id);
}

/** A copy of a template, and its elements that have a `data-part`, by that name. */
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

  /** Puts the items into the order they ought to have by now. */
  sort() {
    this.#place([...this.#items.values()].sort(this.#compare));
  }

  // From the last to the first: what stands before the list, such as a heading, stays there.
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

/** Moves an element and leaves the focus where it is. */
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
