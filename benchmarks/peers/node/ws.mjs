// ws on Node.js, after the broadcast in its README.

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { WebSocket, WebSocketServer } from "ws";

const { values } = parseArgs({ options: { port: { type: "string" } } });

const rooms = new Map();
const http = createServer();
const server = new WebSocketServer({ server: http });

server.on("connection", (socket, request) => {
  const name = request.url;
  if (!rooms.has(name)) rooms.set(name, new Set());
  const room = rooms.get(name);
  room.add(socket);

  socket.on("error", () => {});
  socket.on("close", () => {
    room.delete(socket);
  });
  socket.on("message", (data) => {
    const { message } = JSON.parse(data);
    const text = Buffer.from(JSON.stringify({ message }));
    for (const member of room) {
      if (member.readyState === WebSocket.OPEN) member.send(text, { binary: false });
    }
  });
});

http.listen(Number(values.port), "127.0.0.1");
