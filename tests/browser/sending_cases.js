/**
 * What the browser's client does with what it was given to send.
 * Each exported function is one test; `test_client.py` runs them.
 */

import { equal, until } from "./fake_socket.js";
import { inLobby, next } from "./in_lobby.js";
import { newId } from "../web/roomful.js";

export async function sends_again_under_the_same_id_after_a_lost_connection() {
  const { lobby, socket } = await inLobby(5);
  const first = lobby.send("chat.message", { text: "one" });
  const second = lobby.send("chat.message", { text: "two" });
  const [one, two] = socket.of("chat.message");
  socket.says({ type: "ack", id: one.id, room: "lobby", seq: 6 });
  equal((await first).seq, 6);
  socket.drop();

  const again = await next(socket);
  again.hello();
  equal(again.of("chat.message"), []); // not before the room is joined
  again.joined(7);
  equal(again.of("chat.message"), [two]);
  again.says({ type: "ack", id: two.id, room: "lobby", seq: 7, duplicate: true });
  equal((await second).seq, 7);
}

export async function keeps_the_order_of_what_waits_and_a_bound_on_it() {
  const { lobby, socket } = await inLobby(5, { capacity: 3 });
  socket.drop();
  const texts = ["a", "b", "c"];
  for (const text of texts) lobby.send("chat.message", { text }).catch(() => {});
  equal(await lobby.send("chat.message", { text: "d" }).catch((error) => error.code), "queue_full");
  const again = await next(socket);
  again.hello();
  again.joined(5);
  equal(again.of("chat.message").map((frame) => frame.data.text), texts);
}

export async function never_sends_faster_than_the_node_allows() {
  const { lobby, socket } = await inLobby(5);
  socket.drop();
  for (let n = 0; n < 60; n += 1) lobby.send("chat.message", { text: `${n}` }).catch(() => {});
  const again = await next(socket);
  again.hello({ limits: { message_bytes: 65_536, messages_per_s: 100, burst: 50, rooms: 128 } });
  again.joined(5);
  equal(again.of("chat.message").length, 40);
  await until(() => again.of("chat.message").length === 60, "the rest, later");
  equal(again.of("chat.message").map((frame) => +frame.data.text), [...Array(60).keys()]);
}

export async function tries_again_what_may_succeed_later() {
  const { lobby, socket } = await inLobby(5);
  const sent = lobby.send("chat.message", { text: "soon" });
  const { id } = socket.of("chat.message")[0];
  const error = { code: "rate_limited", message: "Slowly.", retry: true, retry_after_ms: 30 };
  socket.says({ type: "error", id, room: "lobby", error });
  await until(() => socket.of("chat.message").length === 2, "a second attempt");
  equal(socket.of("chat.message")[1].id, id);
  socket.says({ type: "ack", id, room: "lobby", seq: 6 });
  equal((await sent).seq, 6);
}

export async function rejects_what_was_refused() {
  const { lobby, socket } = await inLobby(5);
  const sent = lobby.send("chat.message", { text: "no" }).catch((error) => error);
  const error = { code: "forbidden", message: "Not here.", retry: false };
  socket.says({ type: "error", id: socket.of("chat.message")[0].id, room: "lobby", error });
  const { code, message } = await sent;
  equal([code, message], ["forbidden", "Not here."]);
}

export async function refuses_what_the_node_would_hang_up_on() {
  const { lobby, socket } = await inLobby(5);
  const text = "ä".repeat(40_000);
  equal(await lobby.send("chat.message", { text }).catch((error) => error.code), "too_big");
  equal(socket.of("chat.message"), []);
}

export async function joins_again_where_the_node_has_forgotten_it() {
  const { lobby, socket } = await inLobby(5);
  const sent = lobby.send("chat.message", { text: "still here" });
  const [{ id }] = socket.of("chat.message");
  const error = { code: "not_joined", message: "Join first.", retry: false };
  socket.says({ type: "error", id, room: "lobby", error });
  equal([socket.of("join").length, socket.of("chat.message").length], [2, 1]);
  socket.joined(6);
  equal(socket.of("chat.message").length, 2);
  socket.says({ type: "ack", id, room: "lobby", seq: 7 });
  await sent;
}

export async function sends_ephemeral_messages_now_or_never() {
  const { lobby, socket } = await inLobby(5);
  equal(lobby.signal("chat.typing", { typing: true }), true);
  socket.drop();
  equal(lobby.signal("chat.typing", { typing: false }), false);
  const again = await next(socket);
  again.hello();
  again.joined(5);
  equal(again.of("chat.typing"), []);
}

export async function hears_the_history_it_asked_for_while_away() {
  const { lobby, socket } = await inLobby(5);
  socket.drop();
  const asked = lobby.history({ before: 4, limit: 2 });
  const again = await next(socket);
  again.hello();
  again.joined(5);
  const { id, before, limit } = again.of("history")[0];
  equal([before, limit], [4, 2]);
  again.says({ type: "history", id, room: "lobby", data: { events: [], more: false } });
  equal(await asked, { events: [], more: false });
}

export async function makes_ids_without_a_secure_context() {
  const original = crypto.randomUUID;
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  try {
    const ids = new Set(Array.from({ length: 100 }, newId));
    equal(ids.size, 100);
    equal([...ids].every((id) => id.length >= 16 && id.length <= 64), true);
  } finally {
    Object.defineProperty(crypto, "randomUUID", { value: original, configurable: true });
  }
}
