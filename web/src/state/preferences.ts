import { lasting } from "../lib/storage";
import { Store } from "../lib/store";

/** Whether a model that may think is asked to. */
export const wantsThinking = new Store<boolean>(lasting.get("thinking") !== "off");
wantsThinking.subscribe(() => lasting.set("thinking", wantsThinking.get() ? "on" : "off"));

/** Whether the history stands open beside the chat, on a wide window. */
export const sidebarOpen = new Store<boolean>(lasting.get("sidebar") !== "closed");
sidebarOpen.subscribe(() => lasting.set("sidebar", sidebarOpen.get() ? "open" : "closed"));
