/* text.c - hashes of texts, the words in them, and a table of words. Bytes beyond ASCII are letters. */
#include "span.h"

/* ------------------------------------------------------------------ FarmHash, its fingerprint of 64 bits
 * Source: Geoff Pike's farmhash.cc, namespace farmhashna (https://github.com/google/farmhash). */
#define K0 0xc3a5c85c97cb3127ULL
#define K1 0xb492b66fbe98f273ULL
#define K2 0x9ae16a3b2f90404fULL

static inline uint64_t at64(const uint8_t *s)
{
    uint64_t v;
    memcpy(&v, s, 8);
    return v;
}

static inline uint64_t at32(const uint8_t *s)
{
    uint32_t v;
    memcpy(&v, s, 4);
    return v;
}

static inline uint64_t turn(uint64_t v, int by) { return v >> by | v << (64 - by); }
static inline uint64_t fold(uint64_t v) { return v ^ v >> 47; }

static inline uint64_t mix(uint64_t u, uint64_t v, uint64_t mul)
{
    uint64_t a = fold((u ^ v) * mul);
    return fold((v ^ a) * mul) * mul;
}

static inline uint64_t short_hash(const uint8_t *s, uint64_t n)
{
    uint64_t mul = K2 + n * 2;
    if (n >= 8) {
        uint64_t a = at64(s) + K2, b = at64(s + n - 8);
        return mix(turn(b, 37) * mul + a, (turn(a, 25) + b) * mul, mul);
    }
    if (n >= 4) return mix(n + (at32(s) << 3), at32(s + n - 4), mul);
    if (n > 0) {
        uint32_t y = s[0] + ((uint32_t)s[n >> 1] << 8), z = (uint32_t)n + ((uint32_t)s[n - 1] << 2);
        return fold(y * K2 ^ z * K0) * K2;
    }
    return K2;
}

static inline uint64_t middle_hash(const uint8_t *s, uint64_t n)
{
    uint64_t mul = K2 + n * 2, c = at64(s + n - 8) * mul, d = at64(s + n - 16) * K2;
    if (n <= 32) {
        uint64_t a = at64(s) * K1, b = at64(s + 8);
        return mix(turn(a + b, 43) + turn(c, 30) + d, a + turn(b + K2, 18) + c, mul);
    }
    uint64_t a = at64(s) * K2, b = at64(s + 8);
    uint64_t y = turn(a + b, 43) + turn(c, 30) + d, z = mix(y, a + turn(b + K2, 18) + c, mul);
    uint64_t e = at64(s + 16) * mul, f = at64(s + 24);
    uint64_t g = (y + at64(s + n - 32)) * mul, h = (z + at64(s + n - 24)) * mul;
    return mix(turn(e + f, 43) + turn(g, 30) + h, e + turn(f + a, 18) + g, mul);
}

typedef struct {
    uint64_t a, b;
} pair;

static inline pair weak(const uint8_t *s, uint64_t a, uint64_t b)
{
    uint64_t w = at64(s), x = at64(s + 8), y = at64(s + 16), z = at64(s + 24), c;
    a += w;
    b = turn(b + a + z, 21);
    c = a;
    a += x + y;
    b += turn(a, 44);
    return (pair){a + z, b + c};
}

static uint64_t long_hash(const uint8_t *s, uint64_t n)
{
    const uint8_t *end = s + (n - 1) / 64 * 64, *last = s + n - 64;
    uint64_t x = 81 * K2 + at64(s), y = 81 * K1 + 113, z = fold(y * K2 + 113) * K2, mul = K1, swap;
    pair v = {0, 0}, w = {0, 0};
    for (int at_end = 0;; at_end = s == end) {
        if (at_end) {
            mul = K1 + ((z & 255) << 1);
            s = last;
            w.a += (n - 1) & 63;
            v.a += w.a;
            w.a += v.a;
        }
        x = turn(x + y + v.a + at64(s + 8), 37) * mul;
        y = turn(y + v.b + at64(s + 48), 42) * mul;
        x ^= at_end ? w.b * 9 : w.b;
        y += (at_end ? v.a * 9 : v.a) + at64(s + 40);
        z = turn(z + w.a, 33) * mul;
        v = weak(s, v.b * mul, x + w.a);
        w = weak(s + 32, z + w.b, y + at64(s + 16));
        swap = z, z = x, x = swap;
        if (at_end) return mix(mix(v.a, w.a, mul) + fold(y) * K0 + z, mix(v.b, w.b, mul) + x, mul);
        s += 64;
    }
}

static inline uint64_t farm(const uint8_t *s, uint64_t n)
{
    return n <= 16 ? short_hash(s, n) : n <= 64 ? middle_hash(s, n) : long_hash(s, n);
}

/* ------------------------------------------------------------------ SipHash-2-4
 * Source: Aumasson and Bernstein, SipHash: a fast short-input PRF (https://www.131002.net/siphash/). */
static inline void sip_round(uint64_t *v)
{
    v[0] += v[1], v[1] = turn(v[1], 51) ^ v[0], v[0] = turn(v[0], 32);
    v[2] += v[3], v[3] = turn(v[3], 48) ^ v[2];
    v[0] += v[3], v[3] = turn(v[3], 43) ^ v[0];
    v[2] += v[1], v[1] = turn(v[1], 47) ^ v[2], v[2] = turn(v[2], 32);
}

static inline void sip_word(uint64_t *v, uint64_t m)
{
    v[3] ^= m;
    sip_round(v);
    sip_round(v);
    v[0] ^= m;
}

static uint64_t sip(const uint8_t *s, uint64_t n, uint64_t k0, uint64_t k1)
{
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL,
                     k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL};
    uint64_t last = n << 56, i = 0;
    for (; i + 8 <= n; i += 8) sip_word(v, at64(s + i));
    for (; i < n; i++) last |= (uint64_t)s[i] << (i % 8 * 8);
    sip_word(v, last);
    v[2] ^= 255;
    for (int r = 0; r < 4; r++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void hash_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_hash *a = args;
    (void)part;
    for (ptrdiff_t m = lo; m < hi; m++) {
        const uint8_t *s = a->text + a->ends[m];
        uint64_t n = (uint64_t)(a->ends[m + 1] - a->ends[m]);
        a->hash[m] = a->salted ? sip(s, n, a->k0, a->k1) : farm(s, n);
    }
}

/* hash[m] = FarmHash or SipHash of text m */
void TDF_NAME(text_hash)(const tdf_hash *a)
{
    span_run(hash_part, a, a->M, 1, span_threads(64.0 * (double)a->M, a->threads));
}

/* ------------------------------------------------------------------ words */
static inline int is_space(int c) { return c == ' ' || (c >= 9 && c <= 13); }

static inline int is_punctuation(int c)
{
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
}

/* The words of each text, between white space; before, ASCII letters are made small and punctuation is left
 * out, each where it is wished. */
void TDF_NAME(text_words)(const tdf_words *a)
{
    uint8_t becomes[256], kind[256];            /* 0: left out, 1: part of a word, 2: white space */
    for (int c = 0; c < 256; c++) {
        becomes[c] = (uint8_t)(a->lower && c >= 'A' && c <= 'Z' ? c + 32 : c);
        kind[c] = is_space(c) ? 2 : !(a->strip && is_punctuation(c));
    }
    const uint8_t *text = a->text;              /* apart from the struct, which bytes may lie over */
    uint8_t *words = a->words;
    int64_t *word_ends = a->word_ends;
    ptrdiff_t w = 0, to = 0, most = a->most;
    word_ends[0] = 0;
    for (ptrdiff_t m = 0; m < a->M; m++) {
        ptrdiff_t first = w, begin = to, end = a->ends[m + 1];
        for (ptrdiff_t i = a->ends[m]; i < end && w - first < most; i++) {
            uint8_t c = text[i];
            if (kind[c] < 2) {
                words[to] = becomes[c];
                to += kind[c];
            } else if (to > begin) {
                word_ends[++w] = begin = to;
            }
        }
        if (to > begin) word_ends[++w] = to;
        a->counts[m] = w - first;
    }
}

/* ------------------------------------------------------------------ a table of words
 * A slot holds the upper half of its word's hash and, below, one more than the word's number; 0: free. */
static inline ptrdiff_t slot_of(const tdf_vocabulary *a, const uint8_t *s, uint64_t n, uint64_t hash)
{
    uint64_t last = (uint64_t)a->slots - 1;
    for (uint64_t i = hash & last;; i = (i + 1) & last) {
        uint64_t slot = a->table[i];
        if (!slot) return (ptrdiff_t)i;
        if ((slot ^ hash) >> 32) continue;
        ptrdiff_t e = (ptrdiff_t)(slot & 0xffffffffU) - 1;
        const uint8_t *t = a->known + a->known_ends[e];
        if ((uint64_t)(a->known_ends[e + 1] - a->known_ends[e]) == n && !memcmp(s, t, n)) return (ptrdiff_t)i;
    }
}

#define AHEAD 16                                /* words whose slots are on their way from memory */

/* Words lo to hi; the first that does not fit. */
static ptrdiff_t find(const tdf_vocabulary *a, ptrdiff_t lo, ptrdiff_t hi)
{
    const uint8_t *words = a->words;
    const int64_t *ends = a->word_ends;
    uint64_t *table = a->table, hash[AHEAD];
    ptrdiff_t known = *a->size;
    for (ptrdiff_t from = lo; from < hi; from += AHEAD) {
        ptrdiff_t to = from + AHEAD < hi ? from + AHEAD : hi;
        for (ptrdiff_t m = from; m < to; m++) {
            hash[m - from] = farm(words + ends[m], (uint64_t)(ends[m + 1] - ends[m]));
            __builtin_prefetch(table + (hash[m - from] & ((uint64_t)a->slots - 1)));
        }
        for (ptrdiff_t m = from; m < to; m++) {
            const uint8_t *s = words + ends[m];
            uint64_t n = (uint64_t)(ends[m + 1] - ends[m]);
            ptrdiff_t i = slot_of(a, s, n, hash[m - from]), e = (ptrdiff_t)(table[i] & 0xffffffffU) - 1;
            if (e < 0 && a->grow) {
                if (known == a->room || a->known_ends[known] + (ptrdiff_t)n > a->bytes) return m;
                memcpy(a->known + a->known_ends[known], s, n);
                e = known++;
                a->known_ends[known] = a->known_ends[e] + (int64_t)n;
                table[i] = (hash[m - from] >> 32 << 32) | (uint64_t)known;
                *a->size = known;
            }
            a->ids[m] = e;
        }
    }
    return hi;
}

static void find_part(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    (void)part;
    find(args, lo, hi);
}

/* ids[m] = the number of word m in the table; -1, or with `grow` a new number, where it is not there. Ends at
 * the first word that does not fit: `done` is how many words it came through. */
void TDF_NAME(text_find)(const tdf_vocabulary *a)
{
    *a->done = a->M;
    if (a->grow)
        *a->done = find(a, 0, a->M);
    else
        span_run(find_part, a, a->M, AHEAD, span_threads(128.0 * (double)a->M, a->threads));
}
