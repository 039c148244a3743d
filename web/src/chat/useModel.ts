import { useStore } from "../lib/store";
import { models, sessionState } from "../state/session";

interface ServedModel {
  name: string;
  /** The model can think or not, as it is asked. */
  offersThinking: boolean;
}

/** The model that answers here. */
export function useModel(): ServedModel {
  const state = useStore(sessionState);
  const served = useStore(models);
  const name = state.phase === "ready" ? state.session.model : "";
  const model = served.find((one) => one.id === name);
  return { name, offersThinking: model?.freehold?.thinking === "optional" };
}
