import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { contentSecurityPolicy, mockServer } from "./dev/mock.ts";
import { woff2Only } from "./dev/woff2-only.ts";

const backend = process.env.FREEHOLD_URL ?? "http://127.0.0.1:8080";
const mocked = process.env.FREEHOLD_MOCK === "1";

/** The server checks Host and Origin, so the development proxy speaks as the server's own page would. */
const proxied = {
  target: backend,
  changeOrigin: true,
  headers: { origin: backend },
};

export default defineConfig({
  plugins: [react(), woff2Only(), ...(mocked ? [mockServer()] : [])],
  build: {
    outDir: "../src/freehold/web/dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The grammar of C++, fetched when C++ is shown.
    chunkSizeWarningLimit: 900,
  },
  server: {
    proxy: mocked ? {} : { "/api": proxied, "/auth": proxied, "/v1": proxied, "/healthz": proxied },
  },
  preview: { headers: { "Content-Security-Policy": contentSecurityPolicy } },
  test: { include: ["{src,dev}/**/*.test.{ts,tsx}"], environment: "node" },
});
