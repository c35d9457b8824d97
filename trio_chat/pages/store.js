// What the browser keeps for a page: small JSON values under the room's name.
//
// Storage can be switched off, full, or hold something from another age. None of that may stop a
// chat, so a store that can't save forgets, and one that can't load has nothing.

export class Store {
  #storage; // () => Storage: the access itself throws where it is forbidden
  #prefix;

  constructor(storage, prefix) {
    this.#storage = storage;
    this.#prefix = `trio-chat:${prefix}`;
  }

  load(key) {
    try {
      return JSON.parse(this.#storage().getItem(`${this.#prefix}:${key}`));
    } catch {
      return null;
    }
  }

  save(key, value) {
    try {
      if (value === null) this.#storage().removeItem(`${this.#prefix}:${key}`);
      else this.#storage().setItem(`${this.#prefix}:${key}`, JSON.stringify(value));
    } catch {
      // Then it lasts as long as the page.
    }
  }

  /** Load a value and forget it. */
  take(key) {
    const value = this.load(key);
    this.save(key, null);
    return value;
  }
}
