/** A node of a prefix tree of token sequences. */
interface Node {
  children: Map<number, Node>;
  /** The tokens that may come next; made when first asked for. */
  next?: Int32Array;
}

/**
 * Prefix tree of the catalogue's titles as responses (quotes and end token included): with it, beams can only become
 * titles that exist.
 */
export class TitleTrie {
  private readonly root: Node = { children: new Map() };

  constructor(responses: Iterable<ArrayLike<number>>) {
    for (const response of responses) {
      let node = this.root;
      for (let i = 0; i < response.length; i++) {
        const id = response[i]!;
        let child = node.children.get(id);
        if (child === undefined) {
          child = { children: new Map() };
          node.children.set(id, child);
        }
        node = child;
      }
    }
  }

  /** Tokens that may follow `ids`, ascending; empty when no title goes on. */
  after(ids: readonly number[]): Int32Array {
    let node: Node | undefined = this.root;
    for (const id of ids) node = node?.children.get(id);
    if (node === undefined) return new Int32Array(0);
    node.next ??= Int32Array.from(node.children.keys()).sort();
    return node.next;
  }
}
