/* lstm.c - LSTM over whole sequences (Hochreiter & Schmidhuber 1997, with Gers' forget gate).
 *
 *   [zi zf zg zo] = [x_t  h_{t-1} r] [W; U] + b            r: recurrent dropout, or 1
 *   i = s(zi)  f = s(zf)  g = a(zg)  o = s(zo)              s: rec_act (sigmoid), a: act (tanh)
 *   c_t = f c_{t-1} + i g
 *   h_t = o a(c_t)
 *
 * Weights are packed into panels [k][4 gates][16 units], k over the inputs and then the hidden
 * units. A tile holds some rows x 4 gates x one vector of units in registers: both products and the
 * gates happen there, and pre-activations never touch memory. That is the fused path, for tanh and
 * sigmoid; other activations store z and apply act.h to whole rows.
 *
 * Rows of the batch are independent. They are split over threads, and each thread runs its rows
 * through all steps without a barrier.
 *
 * The tape is time-major, so one step is contiguous and a step's rows never collide in the cache:
 *   in     (T+1, B, K)   [x_t | h_{t-1} r], K = I + Hp; row T holds h_{T-1} alone
 *   gates  (T, B, 4, Hp) i f g o after their activations; backward turns them into dz
 *   c      (T+1, B, Hp)  c_{-1} ... c_{T-1}
 *   ac     (T, B, Hp)    a(c_t)
 *   z      (T, B, 4, Hp) pre-activations, only off the fused path
 * Hp is H rounded up to 16; the padding holds zeros where it is read.
 */
#include "act.h"
#include "gemm.h"
#include "span.h"
#include "tile.h"

#define CELL_GATE 2             /* the gate whose activation is `act` */

typedef struct {
    ptrdiff_t Hp, K;            /* padded units; a row of `in` */
    real *in, *gates, *c, *ac, *z;
    ptrdiff_t slots;            /* steps that `in` and `c` remember: T + 1 with a tape, else 2 and 1 */
    int fused;
} memory;

static int is_fused(const tdf_lstm *a) { return a->act == TDF_TANH && a->rec_act == TDF_SIGMOID; }

static memory layout(const tdf_lstm *a)
{
    memory m = {.Hp = ROUND_UP(a->H, PANEL), .fused = is_fused(a)};
    ptrdiff_t rows = a->T * a->B;
    m.K = a->I + m.Hp;
    if (a->tape) {
        m.slots = a->T + 1;
        m.in = a->tape;
        m.gates = m.in + (rows + a->B) * m.K;
        m.c = m.gates + rows * 4 * m.Hp;
        m.ac = m.c + (rows + a->B) * m.Hp;
        m.z = m.ac + rows * m.Hp;
    } else {
        m.slots = 2;
        m.in = a->scratch + a->B * m.Hp;                     /* scratch starts with the state h */
        m.c = m.in + 2 * a->B * m.K;
        m.z = m.c + a->B * m.Hp;
        m.gates = m.z + a->B * 4 * m.Hp;
        m.ac = m.gates + a->B * 4 * m.Hp;
    }
    return m;
}

/* A step of the sequence as the caller counts them. */
static ptrdiff_t source_step(const tdf_lstm *a, ptrdiff_t t) { return a->reverse ? a->T - 1 - t : t; }

static int is_valid(const tdf_lstm *a, ptrdiff_t b, ptrdiff_t t)
{
    return !a->mask || a->mask[b * a->T + source_step(a, t)];
}

/* ------------------------------------------------------------------ packing */

/* Panel p at p * (K+1) * 64 with K = I + H: the bias [4][16], then [k][4][16]. */
static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += PANEL) {
        ptrdiff_t units = H - u < PANEL ? H - u : PANEL;
        real *to = a->packed + u / PANEL * (I + H + 1) * 4 * PANEL;
        for (ptrdiff_t k = -1; k < I + H; k++) {
            const real *row = k < 0 ? a->bias : k < I ? a->kernel + k * 4 * H : a->recurrent + (k - I) * 4 * H;
            for (int gate = 0; gate < 4; gate++, to += PANEL)
                for (ptrdiff_t j = 0; j < PANEL; j++)
                    to[j] = row && j < units ? row[gate * H + u + j] : 0;
        }
    }
}

void TDF_NAME(lstm_pack)(const tdf_lstm *a)
{
    double work = 16.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

typedef struct {
    const tdf_lstm *a;
    const memory *m;
    ptrdiff_t t;                /* the step */
    const real *in;             /* (B, K) of this step */
    real *next;                 /* (B, K) of the next: h goes there */
    const real *c0;             /* (B, Hp) before and */
    real *c1;                   /* after the step */
    real *h;                    /* (B, Hp) the state */
} step;

/* Where y of (row b, unit u) goes at this step, or NULL if nobody asked for it. */
static real *output(const step *s, ptrdiff_t b, ptrdiff_t u)
{
    const tdf_lstm *a = s->a;
    if (a->sequences) return a->y + (b * a->T + s->t) * a->H + u;
    return s->t == a->T - 1 || a->mask ? a->y + b * a->H + u : NULL;
}

/* Stores a new h everywhere it belongs: the state, the next step's input row and the output. */
INLINE void put_h(const step *s, ptrdiff_t b, ptrdiff_t u, ptrdiff_t units, vf h)
{
    const tdf_lstm *a = s->a;
    real *y = output(s, b, u);
    v_store(s->h + b * s->m->Hp + u, h);
    if (y) v_put(y, h, units);
    if (a->rec_drop) h = v_mul(h, units > 0 ? v_get(a->rec_drop + b * a->H + u, units) : v_zero());
    v_store(s->next + b * s->m->K + a->I + u, h);
}

/* A masked step: the state goes on as it was; the output is the one before it, or 0. */
static void skip_step(const step *s, ptrdiff_t b, ptrdiff_t u, ptrdiff_t n)
{
    const tdf_lstm *a = s->a;
    const memory *m = s->m;
    ptrdiff_t units = a->H - u < n ? a->H - u : n;
    size_t bytes = (size_t)n * sizeof(real);
    memcpy(s->next + b * m->K + a->I + u, s->in + b * m->K + a->I + u, bytes);
    if (s->c1 != s->c0) memcpy(s->c1 + b * m->Hp + u, s->c0 + b * m->Hp + u, bytes);
    real *y = output(s, b, u);
    int first = s->t == 0, last = s->t == a->T - 1;
    if (!y || units <= 0) return;
    if (first || (a->mask_zero_output && (a->sequences || last))) memset(y, 0, (size_t)units * sizeof(real));
    else if (a->sequences) memcpy(y, y - a->H, (size_t)units * sizeof(real));
}

/* MR rows x 4 gates x one vector of units from u, kept in registers from the products to h. */
INLINE void fused_tile(const int MR, const step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    const tdf_lstm *a = s->a;
    const memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 4];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++) acc[r * 4 + gate] = v_load(panel + gate * PANEL);
    tile(MR, 4, a->I + a->H, s->in + b * m->K, m->K, 1, panel + 4 * PANEL, 4 * PANEL, PANEL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        ptrdiff_t row = b + r;
        if (a->mask && !is_valid(a, row, s->t)) {
            skip_step(s, row, u, VL);
            continue;
        }
        vf i = v_sigmoid(acc[r * 4]), f = v_sigmoid(acc[r * 4 + 1]);
        vf g = v_tanh(acc[r * 4 + 2]), o = v_sigmoid(acc[r * 4 + 3]);
        vf c = v_fma(f, v_load(s->c0 + row * m->Hp + u), v_mul(i, g));
        vf ac = v_tanh(c);
        v_store(s->c1 + row * m->Hp + u, c);
        if (a->tape) {
            real *gates = m->gates + (s->t * a->B + row) * 4 * m->Hp + u;
            v_store(gates, i);
            v_store(gates + m->Hp, f);
            v_store(gates + 2 * m->Hp, g);
            v_store(gates + 3 * m->Hp, o);
            v_store(m->ac + (s->t * a->B + row) * m->Hp + u, ac);
        }
        put_h(s, row, u, a->H - u, v_mul(o, ac));
    }
}

static void fused_rows(ptrdiff_t rows, const step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    TILE_SWITCH(rows, fused_tile, s, b, u, panel)
}

/* The same tile off the fused path: z alone. */
INLINE void z_tile(const int MR, const step *s, ptrdiff_t b, ptrdiff_t u, const real *panel, real *z)
{
    const tdf_lstm *a = s->a;
    const memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 4];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++) acc[r * 4 + gate] = v_load(panel + gate * PANEL);
    tile(MR, 4, a->I + a->H, s->in + b * m->K, m->K, 1, panel + 4 * PANEL, 4 * PANEL, PANEL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++) v_store(z + ((b + r) * 4 + gate) * m->Hp + u, acc[r * 4 + gate]);
}

static void z_rows(ptrdiff_t rows, const step *s, ptrdiff_t b, ptrdiff_t u, const real *panel, real *z)
{
    TILE_SWITCH(rows, z_tile, s, b, u, panel, z)
}

/* Gates, cell and output of one row from its z, for any activation. */
static void general_row(const step *s, ptrdiff_t b, const real *z, real *gates, real *ac)
{
    const tdf_lstm *a = s->a;
    ptrdiff_t H = a->H, Hp = s->m->Hp;
    for (int gate = 0; gate < 4; gate++) {
        act_forward(gate == CELL_GATE ? a->act : a->rec_act, H, z + gate * Hp, gates + gate * Hp);
        for (ptrdiff_t u = H; u < Hp; u++) gates[gate * Hp + u] = 0;
    }
    const real *i = gates, *f = gates + Hp, *g = gates + 2 * Hp, *o = gates + 3 * Hp;
    const real *c0 = s->c0 + b * Hp;
    real *c1 = s->c1 + b * Hp;
    for (ptrdiff_t u = 0; u < Hp; u += VL)
        v_store(c1 + u, v_fma(v_load(f + u), v_load(c0 + u), v_mul(v_load(i + u), v_load(g + u))));
    act_forward(a->act, H, c1, ac);
    for (ptrdiff_t u = H; u < Hp; u++) ac[u] = 0;
    for (ptrdiff_t u = 0; u < Hp; u += VL)
        put_h(s, b, u, H - u, u < H ? v_mul(v_load(o + u), v_load(ac + u)) : v_zero());
}

static int any_valid(const tdf_lstm *a, ptrdiff_t b, ptrdiff_t rows, ptrdiff_t t)
{
    if (!a->mask) return 1;
    for (ptrdiff_t r = 0; r < rows; r++)
        if (is_valid(a, b + r, t)) return 1;
    return 0;
}

/* One step of rows lo..hi. */
static void forward_step(const step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_lstm *a = s->a;
    const memory *m = s->m;
    ptrdiff_t panel_size = (a->I + a->H + 1) * 4 * PANEL;
    real *z = m->z + (a->tape && !m->fused ? s->t * a->B * 4 * m->Hp : 0);
    for (ptrdiff_t p = 0; p < m->Hp / PANEL; p++)
        for (ptrdiff_t b = lo; b < hi; b += TILE_ROWS(4)) {
            ptrdiff_t rows = hi - b < TILE_ROWS(4) ? hi - b : TILE_ROWS(4), u = p * PANEL;
            const real *panel = a->packed + p * panel_size;
            if (m->fused && !any_valid(a, b, rows, s->t))
                for (ptrdiff_t r = 0; r < rows; r++) skip_step(s, b + r, u, PANEL);
            else
                for (ptrdiff_t v = 0; v < PANEL; v += VL) {
                    if (m->fused) fused_rows(rows, s, b, u + v, panel + v);
                    else z_rows(rows, s, b, u + v, panel + v, z);
                }
        }
    if (m->fused) return;
    for (ptrdiff_t b = lo; b < hi; b++) {
        ptrdiff_t at = a->tape ? s->t * a->B + b : b;
        if (is_valid(a, b, s->t)) general_row(s, b, z + b * 4 * m->Hp, m->gates + at * 4 * m->Hp, m->ac + at * m->Hp);
        else skip_step(s, b, 0, m->Hp);
    }
}

static void copy_padded(real *to, const real *from, ptrdiff_t n, ptrdiff_t padded)
{
    if (from) memcpy(to, from, (size_t)n * sizeof(real));
    else n = 0;
    memset(to + n, 0, (size_t)(padded - n) * sizeof(real));
}

static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    memory m = layout(a);
    ptrdiff_t B = a->B, T = a->T, I = a->I, H = a->H, Hp = m.Hp;
    real *h = a->scratch;
    (void)part;
    for (ptrdiff_t b = lo; b < hi; b++) {
        real *in = m.in + b * m.K + I;
        copy_padded(h + b * Hp, a->h0 ? a->h0 + b * H : NULL, H, Hp);
        copy_padded(in, h + b * Hp, Hp, Hp);
        if (a->rec_drop)
            for (ptrdiff_t u = 0; u < H; u++) in[u] *= a->rec_drop[b * H + u];
        copy_padded(m.c + b * Hp, a->c0 ? a->c0 + b * H : NULL, H, Hp);
    }
    for (ptrdiff_t t = 0; t < T; t++) {
        real *in = m.in + (a->tape ? t : t & 1) * B * m.K;
        for (ptrdiff_t b = lo; b < hi; b++)
            memcpy(in + b * m.K, a->x + (b * T + source_step(a, t)) * I, (size_t)I * sizeof(real));
        step s = {.a = a, .m = &m, .t = t, .in = in, .next = m.in + (a->tape ? t + 1 : (t + 1) & 1) * B * m.K,
                  .c0 = m.c + (a->tape ? t : 0) * B * Hp, .c1 = m.c + (a->tape ? t + 1 : 0) * B * Hp, .h = h};
        forward_step(&s, lo, hi);
    }
    for (ptrdiff_t b = lo; b < hi; b++) {
        if (a->hT) memcpy(a->hT + b * H, h + b * Hp, (size_t)H * sizeof(real));
        if (a->cT) memcpy(a->cT + b * H, m.c + ((a->tape ? T : 0) * B + b) * Hp, (size_t)H * sizeof(real));
    }
}

static double forward_work(const tdf_lstm *a)
{
    return a->B * (double)a->T * a->H * (8.0 * (a->I + a->H) + 150);
}

void TDF_NAME(lstm_forward)(const tdf_lstm *a)
{
    span_run(forward_body, a, a->B, 1, span_threads(forward_work(a), a->threads));
}

/* ------------------------------------------------------------------ backward */

/* The parts of backward's scratch. (scratch starts with forward's state, which is done with.) */
typedef struct {
    real *dh, *dc, *dy, *product;   /* (B, Hp): gradients of the state, of outputs passed on, of h r */
    real *recurrent, *kernel;       /* packed transposes */
    real *products;                 /* gemm_tn's, one for each thread */
} back_memory;

static back_memory back_layout(const tdf_lstm *a, ptrdiff_t Hp)
{
    back_memory w;
    ptrdiff_t state = a->B * Hp;
    w.dh = a->scratch;
    w.dc = w.dh + state;
    w.dy = w.dc + state;
    w.product = w.dy + state;
    w.recurrent = w.product + state;
    w.kernel = w.recurrent + gemm_pack_size(4 * Hp, a->H);
    w.products = w.kernel + gemm_pack_size(4 * Hp, a->I);
    return w;
}

/* Packs W^T (4Hp, N): the row of gate g and unit u is at g Hp + u, zeros for the padding. */
static void pack_transpose(ptrdiff_t H, ptrdiff_t Hp, ptrdiff_t N, const real *weight, real *packed,
                           ptrdiff_t lo, ptrdiff_t hi)
{
    for (ptrdiff_t n0 = lo; n0 < hi; n0 += GEMM_PANEL) {
        ptrdiff_t width = ROUND_UP(N - n0, PANEL) < GEMM_PANEL ? ROUND_UP(N - n0, PANEL) : GEMM_PANEL;
        real *panel = packed + n0 * 4 * Hp;
        for (int gate = 0; gate < 4; gate++)
            for (ptrdiff_t u0 = 0; u0 < Hp; u0 += PANEL)
                for (ptrdiff_t j = 0; j < width; j++)
                    for (ptrdiff_t u = u0; u < u0 + PANEL; u++)
                        panel[(gate * Hp + u) * width + j] =
                            u < H && n0 + j < N ? weight[(n0 + j) * 4 * H + gate * H + u] : 0;
    }
}

static void pack_recurrent(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    ptrdiff_t Hp = ROUND_UP(a->H, PANEL);
    (void)part;
    pack_transpose(a->H, Hp, a->H, a->recurrent, back_layout(a, Hp).recurrent, lo, hi);
}

static void pack_kernel(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    ptrdiff_t Hp = ROUND_UP(a->H, PANEL);
    (void)part;
    pack_transpose(a->H, Hp, a->I, a->kernel, back_layout(a, Hp).kernel, lo, hi);
}

/* dz of one row and step, written over the gates. dh: the gradient of h_t. dc: of c_t, then of
 * c_{t-1}. Each line undoes the line of forward named beside it. */
static void fused_dz(ptrdiff_t Hp, real *gates, const real *c0, const real *ac, const real *dh, real *dc)
{
    vf one = v_set1(1);
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        vf i = v_load(gates + u), f = v_load(gates + Hp + u);
        vf g = v_load(gates + 2 * Hp + u), o = v_load(gates + 3 * Hp + u);
        vf a = v_load(ac + u), d = v_load(dh + u), c = v_load(c0 + u);
        vf dzo = v_mul(v_mul(d, a), v_mul(o, v_sub(one, o)));                      /* h = o a(c) */
        vf dct = v_fma(v_mul(d, o), v_fnma(a, a, one), v_load(dc + u));            /* a = tanh(c) */
        vf dzi = v_mul(v_mul(dct, g), v_mul(i, v_sub(one, i)));                    /* c = f c0 + i g */
        vf dzf = v_mul(v_mul(dct, c), v_mul(f, v_sub(one, f)));
        vf dzg = v_mul(v_mul(dct, i), v_fnma(g, g, one));
        v_store(gates + u, dzi);
        v_store(gates + Hp + u, dzf);
        v_store(gates + 2 * Hp + u, dzg);
        v_store(gates + 3 * Hp + u, dzo);
        v_store(dc + u, v_mul(dct, f));
    }
}

/* The same for any activation; work holds 6 Hp. */
static void general_dz(const tdf_lstm *p, ptrdiff_t Hp, real *gates, const real *z, const real *c0, const real *c1,
                       const real *ac, const real *dh, real *dc, real *work)
{
    ptrdiff_t H = p->H;
    real *di = work, *df = work + Hp, *dg = work + 2 * Hp, *dout = work + 3 * Hp, *da = work + 4 * Hp, *dca = work + 5 * Hp;
    const real *i = gates, *f = gates + Hp, *g = gates + 2 * Hp, *o = gates + 3 * Hp;
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        v_store(dout + u, v_mul(v_load(dh + u), v_load(ac + u)));                  /* h = o a(c) */
        v_store(da + u, v_mul(v_load(dh + u), v_load(o + u)));
    }
    act_backward(p->act, H, c1, ac, da, dca);                                      /* a(c) */
    for (ptrdiff_t u = H; u < Hp; u++) dca[u] = 0;
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        vf dct = v_add(v_load(dca + u), v_load(dc + u));
        v_store(di + u, v_mul(dct, v_load(g + u)));                                /* c = f c0 + i g */
        v_store(df + u, v_mul(dct, v_load(c0 + u)));
        v_store(dg + u, v_mul(dct, v_load(i + u)));
        v_store(dc + u, v_mul(dct, v_load(f + u)));
    }
    for (int gate = 0; gate < 4; gate++) {
        real *to = gates + gate * Hp, *from = work + gate * Hp;
        act_backward(gate == CELL_GATE ? p->act : p->rec_act, H, z + gate * Hp, to, from, from);
        for (ptrdiff_t u = 0; u < Hp; u++) to[u] = u < H ? from[u] : 0;
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    memory m = layout(a);
    ptrdiff_t B = a->B, T = a->T, H = a->H, Hp = m.Hp;
    back_memory w = back_layout(a, Hp);
    (void)part;
    for (ptrdiff_t b = lo; b < hi; b++) {
        copy_padded(w.dh + b * Hp, a->dhT ? a->dhT + b * H : NULL, H, Hp);
        copy_padded(w.dc + b * Hp, a->dcT ? a->dcT + b * H : NULL, H, Hp);
        copy_padded(w.dy + b * Hp, NULL, 0, Hp);
    }
    for (ptrdiff_t t = T - 1; t >= 0; t--) {
        for (ptrdiff_t b = lo; b < hi; b++) {
            ptrdiff_t at = t * B + b;
            real *gates = m.gates + at * 4 * Hp, *dh = w.dh + b * Hp, *carried = w.dy + b * Hp;
            const real *dy = a->sequences ? a->dy + (b * T + t) * H : t == T - 1 ? a->dy + b * H : NULL;
            int valid = is_valid(a, b, t);
            if (!valid && a->mask_zero_output) dy = NULL;
            if (dy) {
                real *to = valid ? dh : carried;
                for (ptrdiff_t u = 0; u < H; u += VL) v_put(to + u, v_add(v_get(to + u, H - u), v_get(dy + u, H - u)), H - u);
            }
            if (!valid) {                                    /* the state passed through */
                memset(gates, 0, (size_t)(4 * Hp) * sizeof(real));
                continue;
            }
            if (a->mask) {
                for (ptrdiff_t u = 0; u < Hp; u += VL) v_store(dh + u, v_add(v_load(dh + u), v_load(carried + u)));
                memset(carried, 0, (size_t)Hp * sizeof(real));
            }
            const real *c0 = m.c + at * Hp, *c1 = m.c + (at + B) * Hp, *ac = m.ac + at * Hp;
            if (m.fused) {
                fused_dz(Hp, gates, c0, ac, dh, w.dc + b * Hp);
            } else {
                real *work = w.products + b * 6 * Hp;
                general_dz(a, Hp, gates, m.z + at * 4 * Hp, c0, c1, ac, dh, w.dc + b * Hp, work);
            }
            memset(dh, 0, (size_t)Hp * sizeof(real));
        }
        /* z = x W + (h r) U + b */
        gemm_nn_args g = {.M = hi - lo, .K = 4 * Hp, .N = H, .a = m.gates + (t * B + lo) * 4 * Hp, .ar = 4 * Hp,
                          .b = w.recurrent, .cr = Hp};
        if (t > 0 || a->dh0) {
            g.add = !a->rec_drop;
            g.c = (g.add ? w.dh : w.product) + lo * Hp;
            TDF_NAME(gemm_nn)(&g);
        }
        if ((t > 0 || a->dh0) && a->rec_drop)
            for (ptrdiff_t b = lo; b < hi; b++)
                for (ptrdiff_t u = 0; u < H; u += VL) {
                    real *dh = w.dh + b * Hp + u;
                    vf d = v_mul(v_load(w.product + b * Hp + u), v_get(a->rec_drop + b * H + u, H - u));
                    v_put(dh, v_add(v_load(dh), d), H - u);
                }
        if (a->dx) {
            gemm_nn_args gx = {.M = hi - lo, .K = 4 * Hp, .N = a->I, .a = g.a, .ar = g.ar, .b = w.kernel,
                               .c = a->dx + (lo * T + source_step(a, t)) * a->I, .cr = T * a->I};
            TDF_NAME(gemm_nn)(&gx);
        }
    }
    for (ptrdiff_t b = lo; b < hi; b++) {
        if (a->dh0) memcpy(a->dh0 + b * H, w.dh + b * Hp, (size_t)H * sizeof(real));
        if (a->dc0) memcpy(a->dc0 + b * H, w.dc + b * Hp, (size_t)H * sizeof(real));
    }
}

/* [dW; dU] = sum over steps and rows of [x | h r]^T dz, and db; lo..hi are columns of the 4 gates. */
static void weights_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_lstm *a = args;
    memory m = layout(a);
    back_memory w = back_layout(a, m.Hp);
    ptrdiff_t H = a->H, I = a->I, Hp = m.Hp;
    real *scratch = w.products + part * gemm_tn_scratch(m.K);
    ptrdiff_t width = H == Hp ? 4 * H : H;                  /* columns that lie together */
    for (ptrdiff_t start = 0; start < 4 * H; start += width) {
        ptrdiff_t n0 = (lo > start ? lo : start) - start, n1 = (hi < start + width ? hi : start + width) - start;
        if (n0 >= n1) continue;
        gemm_tn_args g = {.K = a->T * a->B, .m0 = 0, .n0 = n0, .n1 = n1, .ak = m.K,
                          .b = m.gates + start / H * Hp, .bk = 4 * Hp, .cr = 4 * H, .scratch = scratch};
        g.m1 = I, g.a = m.in, g.c = a->dkernel + start, g.sum = a->dbias ? a->dbias + start : NULL;
        TDF_NAME(gemm_tn)(&g);
        g.m1 = H, g.a = m.in + I, g.c = a->drecurrent + start, g.sum = NULL;
        TDF_NAME(gemm_tn)(&g);
    }
}

void TDF_NAME(lstm_backward)(const tdf_lstm *a)
{
    double work = 8.0 * a->B * (double)a->T * a->H;
    int threads = span_threads(work * (a->I + a->H), a->threads);
    span_run(pack_recurrent, a, a->H, GEMM_PANEL, span_threads(32.0 * a->H * a->H, a->threads));
    if (a->dx) span_run(pack_kernel, a, a->I, GEMM_PANEL, span_threads(32.0 * a->H * a->I, a->threads));
    span_run(backward_body, a, a->B, 1, span_threads(work * (a->H + (a->dx ? a->I : 0) + 20), a->threads));
    span_run(weights_body, a, 4 * a->H, 4 * a->H >= 64 * threads ? GEMM_PANEL : PANEL, threads);
}
