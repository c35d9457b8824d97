// Bun, with its own publish and subscribe, as its guide does it.

import { parseArgs } from "node:util";

const { values } = parseArgs({ args: Bun.argv.slice(2), options: { port: { type: "string" } } });

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(values.port),
  fetch(request, server) {
    const room = new URL(request.url).pathname;
    if (server.upgrade(request, { data: { room } })) return;
    return new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    open(socket) {
      socket.subscribe(socket.data.room);
    },
    message(socket, data) {
      const { message } = JSON.parse(data);
      server.publish(socket.data.room, JSON.stringify({ message }));
    },
    close(socket) {
      socket.unsubscribe(socket.data.room);
    },
  },
});
