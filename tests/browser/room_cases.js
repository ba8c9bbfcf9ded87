/**
 * How the browser's client follows a room: doubles, holes, gaps, members.
 * Each exported function is one test; `test_client.py` runs them.
 */

import { equal } from "./fake_socket.js";
import { inLobby, next } from "./in_lobby.js";

export async function loses_nothing_when_its_session_is_gone() {
  const { client, lobby, heard, socket } = await inLobby(5);
  const sent = lobby.send("chat.message", { text: "kept" });
  const { id } = socket.of("chat.message")[0];
  socket.drop();

  const again = await next(socket);
  equal(again.query.get("user"), "ann");
  again.hello({ session: "n2-new", secret: "other" });
  again.joined(8, { recovered: true });
  again.event(6);
  again.event(7);
  equal(heard, [6, 7]);
  equal(again.of("chat.message")[0].id, id);
  equal(client.session, "n2-new");
  again.says({ type: "ack", id, room: "lobby", seq: 8 });
  await sent;
}

export async function drops_doubles() {
  const { heard, socket } = await inLobby(5);
  for (const seq of [4, 5, 6, 6, 7, 6, 8]) socket.event(seq);
  equal(heard, [6, 7, 8]);
}

export async function asks_again_from_a_hole() {
  const { heard, gaps, socket } = await inLobby(5);
  socket.event(6);
  socket.event(9);
  const joins = socket.of("join");
  equal([joins.length, joins[1].since, joins[1].epoch], [2, 6, "e1"]);
  socket.event(10); // of the old place: it comes again
  socket.joined(10);
  for (const seq of [7, 8, 9, 10, 11]) socket.event(seq);
  equal(heard, [6, 7, 8, 9, 10, 11]);
  equal(gaps, []);
}

export async function takes_prev_for_what_was_not_meant_for_it() {
  const { heard, socket } = await inLobby(5);
  socket.event(8, { prev: 4 });
  socket.event(9);
  socket.event(12, { prev: 9 });
  equal(heard, [8, 9, 12]);
  socket.event(15, { prev: 13 });
  equal(socket.of("join").length, 2);
}

export async function says_so_when_a_hole_cannot_be_filled() {
  const { heard, gaps, socket } = await inLobby(5);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    socket.event(8);
    socket.joined(8);
  }
  equal(heard, []);
  socket.event(8);
  equal(gaps, [{ from: 6, to: 7, reason: "unrecovered" }]);
  equal(heard, [8]);
}

export async function surfaces_a_gap_and_goes_on_after_it() {
  const { heard, gaps, socket } = await inLobby(5);
  socket.drop();
  const again = await next(socket);
  again.hello();
  again.joined(50, { recovered: false, gap: { from: 6, to: 40, reason: "retention" } });
  for (let seq = 41; seq <= 50; seq += 1) again.event(seq);
  again.says({ type: "gap", room: "lobby", data: { from: 51, to: 60, reason: "retention" } });
  again.event(61);
  equal(gaps.map((gap) => gap.to), [40, 60]);
  equal(heard, [41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 61]);
}

export async function goes_on_in_a_room_that_began_anew() {
  const { heard, gaps, socket } = await inLobby(500);
  socket.drop();
  const again = await next(socket);
  again.hello();
  again.joined(3, { epoch: "e2", recovered: false, gap: { from: 501, to: 501, reason: "epoch" } });
  again.event(4);
  equal([heard, gaps.length], [[4], 1]);
}

export async function goes_on_in_a_room_that_lost_its_end() {
  const { heard, socket } = await inLobby(500);
  socket.drop();
  const again = await next(socket);
  again.hello();
  again.joined(490, { recovered: false, gap: { from: 491, to: 500, reason: "lost" } });
  again.event(491);
  equal(heard, [491]);
}

export async function goes_on_where_numbers_start_over() {
  const { heard, gaps, socket } = await inLobby(5);
  socket.event(6);
  socket.says({ type: "gap", room: "lobby", data: { from: 7, to: 5, reason: "epoch", epoch: "e2" } });
  socket.event(6);
  equal([heard, gaps.length], [[6, 6], 1]);
  socket.drop();
  const again = await next(socket);
  again.hello();
  const [join] = again.of("join");
  equal([join.since, join.epoch], [6, "e2"]);
}

export async function knows_who_is_there() {
  const { lobby, socket } = await inLobby(5);
  const ben = { user: "ben", name: "Ben", session: "n1-s2" };
  socket.says({ type: "presence", room: "lobby", seq: 6, data: { joined: [ben], left: [], count: 2 } });
  equal([lobby.members.map((one) => one.user), lobby.count], [["ann", "ben"], 2]);
  socket.drop();
  const again = await next(socket);
  again.hello();
  again.joined(8); // by then he has gone, as the catch-up tells once more
  again.says({ type: "presence", room: "lobby", seq: 7, data: { joined: [ben], left: [], count: 2 } });
  equal([lobby.members.map((one) => one.user), lobby.count], [["ann"], 1]);
}

export async function keeps_a_room_apart_from_the_one_it_left_before() {
  const { client, lobby, socket } = await inLobby(5);
  const waiting = lobby.history().catch((error) => error.code);
  lobby.leave();
  equal(await waiting, "left");
  const again = client.join("lobby", "last:10");
  socket.says({ type: "left", id: socket.of("leave")[0].id, room: "lobby" });
  socket.event(6);
  equal(client.room("lobby") === again, true);
  socket.joined(7);
  await again.ready;
}
