/** What the server sends, as it sends it. */

export type Role = "user" | "assistant" | "system";
export type ThinkingSupport = "never" | "optional" | "always";

export interface Session {
  user: { id: string; name: string };
  csrf_token: string;
  version: string;
  model: string;
}

export interface Model {
  id: string;
  freehold?: { thinking: ThinkingSupport; context_length: number; tools: boolean };
}

export interface Chat {
  id: string;
  title: string | null;
  model: string | null;
  created_at: string;
  updated_at: string;
}

export interface ChatPage {
  chats: Chat[];
  next: string | null;
}

export interface Message {
  id: string;
  role: Role;
  content: string;
  reasoning_content: string | null;
  reasoning_seconds: number | null;
  finish_reason: string | null;
  created_at: string;
}

export interface ChatWithMessages extends Chat {
  messages: Message[];
  /** An answer is being written, for whichever window asked. */
  answering: boolean;
}

export interface NewMessage {
  content: string;
  model?: string;
  thinking?: boolean;
}

/** The last frame before `[DONE]`: what the server stored. */
export interface StoredFrame {
  user_message_id: string;
  message_id: string;
  title: string | null;
  reasoning_seconds: number | null;
}

/** One frame of a streamed answer, in the parts that the app reads. */
export interface AnswerFrame {
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null };
    finish_reason?: string | null;
  }[];
  freehold?: StoredFrame;
  error?: { message?: string; code?: string | null };
}
