/**
 * Where most cases begin: a client in a room, and the other end of its connection.
 */

import { FakeSocket, until } from "./fake_socket.js";
import { Roomful } from "../web/roomful.js";

/** @param {object} [options] */
export function connected(options) {
  FakeSocket.all = [];
  const client = Roomful.connect("ws://test/ws", {
    name: "Ann",
    WebSocket: /** @type {any} */ (FakeSocket),
    backoff: { base: 4, cap: 16 },
    ...options,
  });
  return client;
}

/** A client in the lobby, whose log has come to `seq`. @param {number} seq @param {object} [options] */
export async function inLobby(seq, options) {
  const client = connected(options);
  const lobby = client.join("lobby");
  await until(() => FakeSocket.last, "a connection");
  FakeSocket.last.hello();
  FakeSocket.last.joined(seq);
  /** @type {number[]} */ const heard = [];
  lobby.on("message", (frame) => heard.push(frame.seq));
  /** @type {any[]} */ const gaps = [];
  lobby.on("gap", (gap) => gaps.push(gap));
  return { client, lobby, heard, gaps, socket: FakeSocket.last };
}

/** The client's next connection after `socket`. @param {FakeSocket} socket */
export async function next(socket) {
  await until(() => FakeSocket.last !== socket, "another connection");
  return FakeSocket.last;
}
