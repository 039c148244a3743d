// Sets the theme before the first paint; src/state/theme.ts keeps it afterwards.
(() => {
  let choice = "system";
  try {
    choice = localStorage.getItem("freehold.theme") ?? "system";
  } catch {
    // Storage may be switched off: the system's theme stands.
  }
  const dark =
    choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.querySelector('meta[name="theme-color"]')?.setAttribute("content", dark ? "#121613" : "#f4f6f3");
})();
