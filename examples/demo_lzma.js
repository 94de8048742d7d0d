/** The content of a file of the format that Python's lzma calls FORMAT_ALONE, whose size it states (after the
 * specification of LZMA by I. Pavlov, in the public domain). Browsers have gzip, which makes WebAssembly two
 * thirds larger. */
function unpacked(bytes) {
  const first = bytes[0], lc = first % 9, lp = Math.floor(first / 9) % 5, pb = Math.floor(first / 45);
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(5, true);
  const out = new Uint8Array(size);
  let at = 14, range = 2 ** 32 - 1, code = 0, place = 0, state = 0;
  for (let i = 0; i < 4; i++) code = (code << 8 | bytes[at++]) >>> 0;
  const odds = (n) => new Uint16Array(n).fill(1024); // of 2048, that a bit is 0

  function bit(table, i) {
    const odd = table[i], bound = (range >>> 11) * odd;
    let found = 0;
    if (code < bound) {
      range = bound;
      table[i] = odd + (2048 - odd >> 5);
    } else {
      range -= bound;
      code -= bound;
      table[i] = odd - (odd >> 5);
      found = 1;
    }
    if (range < 0x1000000) {
      range = range * 256;
      code = (code << 8 | bytes[at++]) >>> 0;
    }
    return found;
  }
  function tree(table, start, bits) {
    let node = 1;
    for (let i = 0; i < bits; i++) node = node << 1 | bit(table, start + node);
    return node - (1 << bits);
  }
  function backwards(table, start, bits) {
    let node = 1, value = 0;
    for (let i = 0; i < bits; i++) {
      const found = bit(table, start + node);
      node = node << 1 | found;
      value |= found << i;
    }
    return value;
  }
  function plain(bits) {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      range >>>= 1;
      const found = code >= range ? 1 : 0;
      if (found) code -= range;
      value = value << 1 | found;
      if (range < 0x1000000) {
        range = range * 256;
        code = (code << 8 | bytes[at++]) >>> 0;
      }
    }
    return value;
  }
  const lengths = () => ({ choice: odds(2), low: odds(16 << 3), mid: odds(16 << 3), high: odds(256) });
  function lengthOf(coder, column) {
    if (!bit(coder.choice, 0)) return 2 + tree(coder.low, column << 3, 3);
    if (!bit(coder.choice, 1)) return 10 + tree(coder.mid, column << 3, 3);
    return 18 + tree(coder.high, 0, 8);
  }
  const literals = odds(0x300 << lc + lp), isMatch = odds(12 << 4), isRep = odds(12), isRep0Long = odds(12 << 4);
  const isRep0 = odds(12), isRep1 = odds(12), isRep2 = odds(12);
  const slots = odds(4 << 6), special = odds(128), align = odds(16), match = lengths(), rep = lengths();
  let a = 0, b = 0, c = 0, d = 0; // the last distances, less 1
  while (place < size) {
    const column = place & (1 << pb) - 1;
    if (!bit(isMatch, (state << 4) + column)) {
      const before = place ? out[place - 1] : 0;
      const start = 0x300 * (((place & (1 << lp) - 1) << lc) + (before >> 8 - lc));
      let symbol = 1;
      if (state >= 7) {
        let likely = out[place - a - 1];
        do {
          const high = likely >> 7 & 1;
          likely <<= 1;
          const found = bit(literals, start + (1 + high << 8) + symbol);
          symbol = symbol << 1 | found;
          if (high !== found) break;
        } while (symbol < 256);
      }
      while (symbol < 256) symbol = symbol << 1 | bit(literals, start + symbol);
      out[place++] = symbol;
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    let length;
    if (bit(isRep, state)) {
      if (!bit(isRep0, state)) {
        if (!bit(isRep0Long, (state << 4) + column)) {
          state = state < 7 ? 9 : 11;
          out[place] = out[place - a - 1];
          place++;
          continue;
        }
      } else if (!bit(isRep1, state)) {
        [a, b] = [b, a];
      } else if (!bit(isRep2, state)) {
        [a, b, c] = [c, a, b];
      } else {
        [a, b, c, d] = [d, a, b, c];
      }
      length = lengthOf(rep, column);
      state = state < 7 ? 8 : 11;
    } else {
      [b, c, d] = [a, b, c];
      length = lengthOf(match, column);
      state = state < 7 ? 7 : 10;
      a = tree(slots, Math.min(length - 2, 3) << 6, 6);
      if (a >= 4) {
        const bits = (a >> 1) - 1, slot = a;
        a = (2 | slot & 1) << bits;
        a += bits < 6 ? backwards(special, a - slot, bits)
                      : plain(bits - 4) * 16 + backwards(align, 0, 4);
      }
    }
    for (let i = 0, from = place - a - 1; i < length; i++) out[place++] = out[from++];
  }
  return out;
}
