/**
 * When the browser's client comes back, how soon, and when it stays away.
 * Each exported function is one test; `test_client.py` runs them.
 */

import { FakeSocket, equal, until } from "./fake_socket.js";
import { connected, inLobby, next } from "./in_lobby.js";
import { fullJitter } from "../web/events.js";

export async function resumes_its_session_and_each_room_after_what_it_heard() {
  const { client, socket } = await inLobby(5);
  socket.event(6);
  socket.event(7);
  socket.drop();
  equal(client.state, "reconnecting");

  const again = await next(socket);
  equal([again.query.get("session"), again.query.get("secret")], ["n1-s1", "sss"]);
  again.hello();
  const { since, epoch } = again.of("join")[0];
  equal({ since, epoch }, { since: 7, epoch: "e1" });
}

export async function begins_a_new_session_when_the_old_one_is_refused() {
  const { client, socket } = await inLobby(5);
  socket.drop();
  const refused = await next(socket);
  refused.drop(4500);
  equal(client.state, "reconnecting");
  const fresh = await next(refused);
  equal(fresh.query.get("session"), null);
}

export async function stays_away_when_the_bye_says_so() {
  const { client, lobby, socket } = await inLobby(5);
  const sent = lobby.send("chat.message", { text: "late" }).catch((error) => error.code);
  const data = { code: "clean", message: "Goodbye.", reconnect: false, delay_ms: [0, 0] };
  socket.says({ type: "bye", data });
  socket.drop(1000);
  equal(client.state, "closed");
  equal(await sent, "closed");
  await new Promise((resolve) => setTimeout(resolve, 60));
  equal(FakeSocket.all.length, 1);
}

export async function comes_back_within_the_window_that_the_bye_gives() {
  const { client, socket } = await inLobby(5);
  const data = { code: "drain", message: "", reconnect: true, delay_ms: [150, 200], resume: true };
  socket.says({ type: "bye", data });
  const left = performance.now();
  socket.drop(1012);
  equal(client.state, "reconnecting");
  await next(socket);
  const waited = performance.now() - left;
  if (waited < 149 || waited > 1500) throw new Error(`It came back after ${waited} ms.`);
}

export async function begins_a_new_session_when_the_bye_rules_out_resuming() {
  const { socket } = await inLobby(5);
  const data = { code: "heartbeat", message: "", reconnect: true, delay_ms: [0, 0], resume: false };
  socket.says({ type: "bye", data });
  socket.drop(4000);
  equal((await next(socket)).query.get("session"), null);
}

export async function stops_for_good_at_codes_that_say_so() {
  for (const code of [4500, 4501, 4502, 4999]) {
    const { client, socket } = await inLobby(5);
    socket.drop(code);
    equal(client.state, "closed");
    client.open();
    equal(client.state, "reconnecting");
    client.close();
  }
}

export async function comes_back_after_every_other_code() {
  for (const code of [1000, 1001, 1006, 1009, 1012, 1013, 4000, 4001, 4499]) {
    const { client, socket } = await inLobby(5);
    socket.drop(code);
    await next(socket);
    client.close();
  }
}

export async function notices_that_nobody_is_there_any_more() {
  const { client, socket } = await inLobby(5, { pingMs: 20 });
  await until(() => socket.of("ping").length === 1, "a ping");
  socket.says({ type: "pong", data: { time: 1 } });
  const again = await next(socket);
  equal(socket.of("ping").length, 3);
  client.close();
  equal(again.readyState, 3);
}

export async function gives_up_a_connection_that_never_says_hello() {
  const client = connected({ openMs: 20 });
  await until(() => FakeSocket.all.length === 2, "a second attempt");
  equal(client.state, "connecting");
  client.close();
}

export async function comes_back_at_once_when_the_network_does() {
  const { client, socket } = await inLobby(5, { backoff: { base: 1e9, cap: 1e9 } });
  socket.drop();
  equal(client.state, "reconnecting");
  dispatchEvent(new Event("online"));
  await next(socket);
  client.close();
  dispatchEvent(new Event("online"));
  equal([client.state, FakeSocket.all.length], ["closed", 2]);
}

export async function spreads_its_attempts() {
  const ceilings = [300, 600, 1200, 1500, 1500];
  ceilings.forEach((ceiling, attempt) => {
    const delays = Array.from({ length: 500 }, () => fullJitter(attempt, { base: 300, cap: 1500 }));
    equal(delays.every((delay) => delay >= 0 && delay < ceiling), true);
    equal(Math.max(...delays) > ceiling * 0.8 && Math.min(...delays) < ceiling * 0.2, true);
  });
}
