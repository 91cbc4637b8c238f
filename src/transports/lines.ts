import { type Line, MAX_LINE_BYTES } from './contract.ts';

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Cuts one stream's bytes into lines. */
export interface LineCutter {
  push(chunk: Buffer): void;
  /** Tells what is left without a line end. */
  end(): void;
}

/** Lines end at LF; a CR before it belongs to the end. */
export function cutLines(stream: Line['stream'], onLine: (line: Line) => void): LineCutter {
  let kept: Buffer[] = [];
  let size = 0;

  const tell = (partial: boolean) => {
    let bytes = kept.length === 1 && kept[0] !== undefined ? kept[0] : Buffer.concat(kept);
    kept = [];
    size = 0;
    if (!partial && bytes.at(-1) === CARRIAGE_RETURN) bytes = bytes.subarray(0, -1);
    onLine({ stream, text: bytes.toString('utf8'), ...(partial ? { partial } : {}) });
  };
  const keep = (bytes: Buffer) => {
    let rest = bytes;
    while (size + rest.length > MAX_LINE_BYTES) {
      const cut = characterStart(rest, MAX_LINE_BYTES - size);
      kept.push(rest.subarray(0, cut));
      rest = rest.subarray(cut);
      tell(true);
    }
    kept.push(rest);
    size += rest.length;
  };

  return {
    push(chunk) {
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
        keep(chunk.subarray(from, at));
        tell(false);
        from = at + 1;
      }
      if (from < chunk.length) keep(chunk.subarray(from));
    },
    end() {
      if (size > 0) tell(false);
    },
  };
}

/** The last place at or before `at` where a UTF-8 character begins; `at` itself where there is none near. */
function characterStart(bytes: Buffer, at: number): number {
  for (let back = 0; back < 4 && at - back > 0; back += 1) {
    if (((bytes[at - back] ?? 0) & 0xc0) !== 0x80) return at - back;
  }
  return at;
}
