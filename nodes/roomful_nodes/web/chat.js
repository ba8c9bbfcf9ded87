/**
 * The chat page: who one is, which room, and how the parts of the page hang on the client.
 */

import { Composer } from "./composer.js";
import { People, TypingLine } from "./people.js";
import { Roomful, newId } from "./roomful.js";
import { element, find } from "./text.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("./roomful.js").Frame} Frame */
/** @typedef {import("./roomful.js").Room} Room */
/** @typedef {import("./composer.js").Aim} Aim */

const NAME = "roomful.name";
const STATES = {
  connecting: "Connecting…",
  joining: "Joining…",
  open: "Connected",
  reconnecting: "Reconnecting…",
  refused: "Not let in",
  closed: "Disconnected",
};

/** A setting that outlives the page, where the browser lets it. @param {string} key */
function stored(key, fresh = () => "") {
  try {
    const value = localStorage.getItem(key) ?? fresh();
    localStorage.setItem(key, value);
    return value;
  } catch {
    return fresh();
  }
}

/** The query, which others may have put into a link, wins over what is stored. */
function asked() {
  const query = new URLSearchParams(location.search);
  const name = query.get("name")?.trim() ?? "";
  return { name, room: query.get("room") || "lobby", user: query.get("user") };
}

/** One id per name and browser, so that two windows with two names are two people.
 * @param {string} name */
const userOf = (name) => stored(`roomful.user.${name}`, newId);

/** @returns {Promise<{name: string, room: string}>} once somebody has told them */
function introduced() {
  const welcome = find("#welcome");
  const form = find("form", welcome, HTMLFormElement);
  const field = (/** @type {string} */ name) =>
    /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
  field("name").value = stored(NAME);
  field("room").value = asked().room;
  welcome.hidden = false;
  field("name").select();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [name, room] = [field("name").value.trim(), field("room").value.trim()];
      if (!name || !room) return;
      welcome.hidden = true;
      resolve({ name, room });
    });
  });
}

class Chat {
  #client;
  #name;
  #user;
  #timeline;
  #people;
  #composer;
  #typing = new TypingLine();
  /** @type {Room | null} */ #room = null;
  #unread = 0;

  /** @param {string} name @param {string} user */
  constructor(name, user) {
    this.#name = name;
    this.#user = user;
    const token = new URLSearchParams(location.search).get("token") ?? undefined;
    this.#client = new Roomful("ws", { name, user, token });
    const me = () => this.#client.user;
    this.#timeline = new Timeline(me);
    this.#people = new People(me);
    this.#composer = new Composer(() => this.#others());
    this.#wire();
    find("#chat").hidden = false;
  }

  /** @param {string} room */
  start(room) {
    this.enter(room);
    this.#client.open();
    // On a phone that would open the keyboard over what there is to read.
    if (matchMedia("(pointer: fine)").matches) this.#composer.focus();
  }

  /** Leave the present room for another. @param {string} name */
  enter(name) {
    if (this.#room?.name === name) return;
    this.#room?.leave();
    this.#timeline.clear();
    this.#typing.clear();
    this.#people.update([], 0);
    this.#composer.aim(null);
    find("#room-name").textContent = name;
    this.#seen();
    this.#room = this.#client.join(name, "last:50");
    this.#listen(this.#room);
    this.#title();
    this.#show(this.#client.state);
  }

  #wire() {
    this.#client.on("state", ({ state, message }) => this.#show(state, message));
    this.#timeline.on("older", ({ before }) => this.#older(before));
    this.#timeline.on("retry", ({ text, aim }) => this.#say(text, aim));
    this.#people.on("chosen", (person) => this.#composer.aim(person));
    this.#composer.on("say", ({ text, aim }) => this.#say(text, aim));
    this.#composer.on("typing", (typing) =>
      this.#room?.signal("chat.typing", { typing }, { echo: false }),
    );
    document.addEventListener("visibilitychange", () => document.hidden || this.#seen());
    // A page that goes away says so, instead of being missed for a while.
    addEventListener("pagehide", () => this.#client.close());
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  /** @param {Room} room */
  #listen(room) {
    const here = (/** @type {(detail: any) => void} */ heard) => (/** @type {any} */ detail) =>
      room === this.#room && heard(detail);
    room.on("members", here((members) => this.#people.update(members, room.count)));
    room.on("message", here((event) => this.#heard(event)));
    room.on("presence", here((event) => this.#timeline.add(event)));
    room.on("gap", here((gap) => this.#timeline.gap(gap)));
    room.on("joined", here(() => this.#show(this.#client.state)));
    room.on("error", here((error) => this.#show("refused", error.message)));
  }

  /** @param {Frame} event */
  #heard(event) {
    if (event.type === "chat.typing") return this.#typing.set(event.from, event.data?.typing === true);
    if (event.type !== "chat.message" && event.type !== "chat.whisper") return undefined;
    if (event.from) this.#typing.set(event.from, false);
    this.#timeline.add(event);
    if (document.hidden) this.#unread += 1;
    return this.#title();
  }

  /** @param {string} text @param {Aim | null} aim whom it is whispered to */
  #say(text, aim) {
    const room = this.#room;
    if (!room) return;
    const id = newId();
    const type = aim ? "chat.whisper" : "chat.message";
    const data = aim ? { text, to: { user: aim.user, name: aim.name } } : { text };
    const from = { user: this.#client.user ?? this.#user, name: this.#name };
    this.#timeline.await(id, { type, data, from, ts: Date.now() });
    room.send(type, data, { id, to: aim ? { user: aim.user } : undefined }).then(
      (ack) => this.#timeline.landed(id, ack.seq),
      (error) => this.#timeline.failed(id, error.message),
    );
  }

  /** @param {number} before */
  async #older(before) {
    const room = this.#room;
    try {
      const past = await room?.history({ before, limit: 50 });
      if (past && room === this.#room) this.#timeline.prepend(past.events, past.more);
    } catch {
      if (room === this.#room) this.#timeline.unavailable();
    }
  }

  #others() {
    const people = new Map(this.#room?.members.map((member) => [member.user, member]));
    people.delete(this.#client.user ?? "");
    return [...people.values()];
  }

  /** @param {keyof STATES} told @param {string} [message] */
  #show(told, message = "") {
    const state = told === "open" && !this.#room?.joined ? "joining" : told;
    const pill = find("#state");
    pill.dataset.state = state;
    pill.title = message;
    pill.replaceChildren(element("span", "", STATES[state]));
    if (state !== "open") this.#typing.clear();
    if (state === "refused") this.#composer.hint(message);
    if (state !== "closed") return;
    const again = element("button", "", "Connect");
    again.addEventListener("click", () => this.#client.open());
    pill.append(again);
  }

  #seen() {
    this.#unread = 0;
    this.#title();
  }

  #title() {
    const unread = this.#unread ? `(${this.#unread}) ` : "";
    document.title = `${unread}${this.#room?.name ?? "…"} · Roomful`;
  }
}

/** The dialog behind the room's name. @param {(room: string) => void} go */
function wireRooms(go) {
  const dialog = find("#elsewhere", document, HTMLDialogElement);
  const input = find("input", dialog, HTMLInputElement);
  find("#room").addEventListener("click", () => {
    input.value = "";
    dialog.showModal();
  });
  find("[value=cancel]", dialog).addEventListener("click", () => dialog.close());
  find("form", dialog).addEventListener("submit", () => input.value.trim() && go(input.value.trim()));
}

/** Where others find this room; one's own name is not for them. @param {string} room */
function addressOf(room) {
  const address = new URL(location.href);
  address.searchParams.set("room", room);
  return address;
}

async function main() {
  const query = asked();
  const { name, room } = query.name ? query : await introduced();
  if (!query.name) {
    try {
      localStorage.setItem(NAME, name);
    } catch {} // it will be asked for again
  }
  history.replaceState(null, "", addressOf(room));
  const chat = new Chat(name, query.user || userOf(name));
  wireRooms((chosen) => {
    history.pushState(null, "", addressOf(chosen));
    chat.enter(chosen);
  });
  addEventListener("popstate", () => chat.enter(asked().room));
  chat.start(room);
}

main();
