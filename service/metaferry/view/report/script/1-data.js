'use strict';
// The payload, and counts under filters: exact under none and under one, else from the sample.
// `view/report/build.py` writes what this reads; the files of this folder are one script, in their order.

const prefersDark = matchMedia('(prefers-color-scheme: dark)');
document.documentElement.dataset.theme = prefersDark.matches ? 'dark' : 'light';

// -- the payload

async function unpack() {
  const text = atob(document.getElementById('payload').textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  const part = (name) => {
    const [at, length] = head.parts[name];
    return bytes.subarray(4 + size + at, 4 + size + at + length);
  };
  return { head, part };
}

function readPairs(bytes, dims, among) {
  const pairs = new Map();
  let at = 0;
  for (let a = 0; a < among.length; a++) {
    for (let b = a + 1; b < among.length; b++) {
      const cells = new Float64Array(dims[among[a]].codes * dims[among[b]].codes);
      for (let i = 0; i < cells.length; i++) {
        let scale = 1;
        let byte;
        do {
          byte = bytes[at++];
          cells[i] += (byte & 127) * scale;
          scale *= 128;
        } while (byte & 128);
      }
      pairs.set(among[a] * 1000 + among[b], cells);
    }
  }
  return pairs;
}

// -- dimensions, filters, counts

function model({ head, part }) {
  const dims = head.dimensions;
  const sample = part('sample');
  const fine = part('fine');
  let number = 0;
  dims.forEach((dim, i) => {
    dim.at = i;
    dim.column = sample.subarray(i * head.sampled, (i + 1) * head.sampled);
    dim.isNumber = dim.kind !== 'category';
    dim.slots = dim.codes - (dim.missing ? 1 : 0);
    if (dim.isNumber) {
      dim.high = dim.low + dim.bins * dim.step;
      dim.fine = fine.subarray(number * head.points, (number + 1) * head.points);
      number++;
    }
  });
  const pairs = readPairs(part('pairs'), dims, head.paired);
  const isPaired = new Set(head.paired);
  const exactSample = head.sampled === head.documents;
  const scale = head.sampled ? head.documents / head.sampled : 0;
  const filters = new Map();
  // For each row of the sample how many filters it fails, and the sum of their numbers: of a row that fails
  // one alone, which one. Both follow what changes.
  const [fails, which] = [new Uint8Array(head.sampled), new Uint32Array(head.sampled)];
  const sifted = new Map(); // the filters that they count
  const [rows, room] = [new Uint32Array(head.sampled), new Map()];
  let passing = rows.subarray(0, 0);
  let failing = new Map(); // by dimension: rows that fail its filter alone
  let known = new Map(); // counts by dimension

  function sift() {
    for (const at of new Set([...sifted.keys(), ...filters.keys()])) {
      const [before, now, { column, codes }] = [sifted.get(at), filters.get(at), dims[at]];
      if (before === now) continue;
      const change = new Int8Array(codes).map((_, code) => (now && !now[code] ? 1 : 0) - (before && !before[code] ? 1 : 0));
      for (let r = 0; r < fails.length; r++) {
        fails[r] += change[column[r]];
        which[r] += change[column[r]] * at;
      }
      if (now) sifted.set(at, now); else sifted.delete(at);
    }
    known = new Map();
    if (filters.size === 0) return;
    for (const at of filters.keys()) if (!room.has(at)) room.set(at, new Uint32Array(head.sampled));
    const alone = dims.map((dim) => room.get(dim.at));
    const found = new Uint32Array(dims.length);
    let n = 0;
    for (let r = 0; r < fails.length; r++) {
      if (fails[r] === 0) rows[n++] = r;
      else if (fails[r] === 1) alone[which[r]][found[which[r]]++] = r;
    }
    passing = rows.subarray(0, n);
    failing = new Map([...filters.keys()].map((at) => [at, alone[at].subarray(0, found[at])]));
  }

  const pairCell = (a, b) => {
    const turned = a > b;
    const cells = pairs.get(turned ? b * 1000 + a : a * 1000 + b);
    const across = turned ? dims[a].codes : dims[b].codes;
    return turned ? (i, j) => cells[j * across + i] : (i, j) => cells[i * across + j];
  };

  // Documents by code under the filters of all other dimensions.
  function counts(dim) {
    if (!known.has(dim.at)) known.set(dim.at, count(dim));
    return known.get(dim.at);
  }

  function count(dim) {
    const others = [...filters.keys()].filter((at) => at !== dim.at);
    if (others.length === 0) return { values: dim.counts, isAbout: false };
    const values = new Float64Array(dim.codes);
    if (others.length === 1) {
      const [at] = others;
      const mask = filters.get(at);
      if (dim.codes === 1) {
        dims[at].counts.forEach((n, code) => { if (mask[code]) values[0] += n; });
        return { values, isAbout: false };
      }
      if (isPaired.has(at) && isPaired.has(dim.at)) {
        const cell = pairCell(at, dim.at);
        for (let i = 0; i < mask.length; i++) {
          if (mask[i]) for (let j = 0; j < dim.codes; j++) values[j] += cell(i, j);
        }
        return { values, isAbout: false };
      }
    }
    const [column, sampled] = [dim.column, new Uint32Array(dim.codes)];
    for (const some of [passing, failing.get(dim.at)]) {
      if (some) for (let i = 0; i < some.length; i++) sampled[column[some[i]]]++;
    }
    return { values: values.map((_, code) => sampled[code] * scale), isAbout: !exactSample };
  }

  // Documents by code of two dimensions under all filters; `all`: under none.
  function cross(a, b, all) {
    const cells = new Float64Array(a.codes * b.codes);
    if (a.codes === 1 || b.codes === 1) {
      const many = b.codes === 1 ? a : b;
      const { values, isAbout } = all ? { values: many.counts, isAbout: false } : counts(many);
      const mask = all ? null : filters.get(many.at);
      for (let code = 0; code < many.codes; code++) if (!mask || mask[code]) cells[code] = values[code];
      return { cells, isAbout };
    }
    const active = all ? [] : [...filters.keys()];
    if (isPaired.has(a.at) && isPaired.has(b.at) && active.every((at) => at === a.at || at === b.at)) {
      const cell = pairCell(a.at, b.at);
      const [maskA, maskB] = all ? [] : [filters.get(a.at), filters.get(b.at)];
      for (let i = 0; i < a.codes; i++) {
        for (let j = 0; j < b.codes; j++) {
          if ((!maskA || maskA[i]) && (!maskB || maskB[j])) cells[i * b.codes + j] = cell(i, j);
        }
      }
      return { cells, isAbout: false };
    }
    const n = active.length ? passing.length : head.sampled;
    for (let i = 0; i < n; i++) {
      const r = active.length ? passing[i] : i;
      cells[a.column[r] * b.codes + b.column[r]] += scale;
    }
    return { cells, isAbout: !exactSample };
  }

  function total() {
    if (filters.size === 0) return { n: head.documents, isAbout: false };
    if (filters.size === 1) {
      const [[at, mask]] = filters;
      return { n: dims[at].counts.reduce((sum, n, code) => sum + (mask[code] ? n : 0), 0), isAbout: false };
    }
    return { n: passing.length * scale, isAbout: !exactSample };
  }

  const passes = (r) => fails[r] === 0;

  return { head, part, dims, filters, sift, counts, cross, total, passes };
}

const empty = (text) => (text === '' ? '(empty)' : clean(text));

function codeText(dim, code) {
  if (dim.missing && code === dim.codes - 1) return 'no value';
  if (!dim.isNumber) {
    if (code >= dim.labels.length) return 'other';
    return empty(dim.labels[code]);
  }
  if (dim.below && code === 0) return `below ${valueText(dim, dim.low)}`;
  if (dim.above && code === dim.slots - 1) return `above ${valueText(dim, dim.high)}`;
  const from = dim.low + (code - (dim.below ? 1 : 0)) * dim.step;
  const to = from + dim.step;
  if (dim.min === dim.max) return valueText(dim, dim.min);
  if (dim.integer) return dim.step === 1 ? plain(from) : `${plain(from)} to ${plain(to - 1)}`;
  return `${valueText(dim, from)} to ${valueText(dim, to)}`;
}

function maskText(dim, mask) {
  const codes = [...mask.keys()].filter((code) => mask[code]);
  const run = codes.length > 1 && codes.every((code, i) => i === 0 || code === codes[i - 1] + 1);
  if (dim.isNumber && run && codes[codes.length - 1] < dim.slots) {
    const first = codeText(dim, codes[0]).split(' to ')[0];
    const last = codeText(dim, codes[codes.length - 1]).split(' to ').pop();
    return `${first} to ${last}`;
  }
  const named = codes.slice(0, 3).map((code) => codeText(dim, code)).join(', ');
  return codes.length > 3 ? `${named} and ${codes.length - 3} more` : named;
}
