/** A JSON value with objects as maps, so that a key such as `__proto__` is a key like any other. */
export type StrictJson = null | boolean | number | string | StrictJson[] | Map<string, StrictJson>;

export interface StrictJsonLimits {
  /** Deepest nesting of arrays and objects. */
  depth: number;
}

/** Why and where a text is not strict JSON; callers turn it into their own error. */
export class StrictJsonError extends Error {
  readonly position: number;

  constructor(reason: string, position: number) {
    super(`${reason} at character ${position}`);
    this.name = 'StrictJsonError';
    this.position = position;
  }
}

/**
 * Parses JSON as RFC 8259 has it, and refuses what `JSON.parse` lets pass silently: a name given twice in one
 * object, an integer that a double cannot hold, and nesting beyond the limit.
 */
export function parseStrictJson(text: string, limits: StrictJsonLimits = { depth: 32 }): StrictJson {
  const parser = new Parser(text, limits.depth);
  const value = parser.value(0);
  parser.end();
  return value;
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Parser {
  readonly #text: string;
  readonly #depth: number;
  #at = 0;

  constructor(text: string, depth: number) {
    this.#text = text;
    this.#depth = depth;
  }

  value(depth: number): StrictJson {
    if (depth > this.#depth) throw this.#error(`nesting deeper than ${this.#depth}`);
    this.#space();
    const char = this.#text[this.#at];
    if (char === '{') return this.#object(depth);
    if (char === '[') return this.#array(depth);
    if (char === '"') return this.#string();
    if (char === 't') return this.#word('true', true);
    if (char === 'f') return this.#word('false', false);
    if (char === 'n') return this.#word('null', null);
    return this.#number();
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('text after the JSON value');
  }

  #object(depth: number): Map<string, StrictJson> {
    const object = new Map<string, StrictJson>();
    this.#at++;
    if (this.#take('}')) return object;
    do {
      this.#space();
      const start = this.#at;
      if (this.#text[start] !== '"') throw this.#error('expected a name in quotes');
      const name = this.#string();
      if (object.has(name)) throw new StrictJsonError(`the name ${JSON.stringify(name)} is given twice`, start);
      if (!this.#take(':')) throw this.#error("expected ':'");
      object.set(name, this.value(depth + 1));
    } while (this.#take(','));
    if (!this.#take('}')) throw this.#error("expected ',' or '}'");
    return object;
  }

  #array(depth: number): StrictJson[] {
    const array: StrictJson[] = [];
    this.#at++;
    if (this.#take(']')) return array;
    do array.push(this.value(depth + 1));
    while (this.#take(','));
    if (!this.#take(']')) throw this.#error("expected ',' or ']'");
    return array;
  }

  #string(): string {
    const start = this.#at;
    let at = start + 1;
    while (at < this.#text.length) {
      const code = this.#text.charCodeAt(at);
      if (code === 0x22) break;
      at += code === 0x5c ? 2 : 1;
    }
    if (at >= this.#text.length) throw this.#error('a string that does not end');
    this.#at = at + 1;
    try {
      return JSON.parse(this.#text.slice(start, at + 1)) as string;
    } catch {
      throw new StrictJsonError('a string that is not valid', start);
    }
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text)?.[0];
    if (match === undefined) throw this.#error('expected a value');
    const number = Number(match);
    if (!Number.isFinite(number) || (Number.isInteger(number) && !Number.isSafeInteger(number))) {
      throw this.#error(`the number ${match.slice(0, 40)} is beyond 2^53`);
    }
    this.#at += match.length;
    return number;
  }

  #word<T extends StrictJson>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#error('expected a value');
    this.#at += word.length;
    return value;
  }

  #take(char: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? 'x')) this.#at++;
  }

  #error(reason: string): StrictJsonError {
    return new StrictJsonError(reason, this.#at);
  }
}
