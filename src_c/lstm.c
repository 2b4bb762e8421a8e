/* lstm.c - LSTM over whole sequences (Hochreiter & Schmidhuber 1997, with Gers' forget gate).
 *
 *   [zi zf zg zo] = [x_t  h_{t-1} r] [W; U] + b            r: recurrent dropout, or 1
 *   i = s(zi)  f = s(zf)  g = a(zg)  o = s(zo)              s: rec_act (sigmoid), a: act (tanh)
 *   c_t = f c_{t-1} + i g
 *   h_t = o a(c_t)
 *
 * Weights are packed into panels [k][4 gates][one vector of units], k over the inputs and then the hidden
 * units. A tile holds some rows x 4 gates x one vector of units in registers: both products and the
 * gates happen there, and pre-activations never touch memory. That is the fused path, for tanh and
 * sigmoid; other activations store z and apply act.h to whole rows.
 *
 * The tape (rnn_layout.h) has i f g o in `gates`, c in `state` and a(c) in `ac`.
 */
#include "rnn_common.h"

#define CELL_GATE 2             /* the gate whose activation is `act` */

/* ------------------------------------------------------------------ packing */

/* The panel of the units from u on: the bias [4][VL], then [k][4][VL]. */
INLINE real *panel_of(const tdf_rnn *a, ptrdiff_t u) { return a->packed + u * (a->I + a->H + 1) * 4; }

static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += VL) {
        real *to = panel_of(a, u);
        for (ptrdiff_t k = -1; k < I + H; k++) {
            const real *row = a->bias;
            if (k >= 0) row = k < I ? a->kernel + k * 4 * H : a->recurrent + (k - I) * 4 * H;
            for (int gate = 0; gate < 4; gate++, to += VL)
                v_store(to, row ? v_get(row + gate * H + u, H - u) : v_zero());
        }
    }
}

void TDF_NAME(lstm_pack)(const tdf_rnn *a)
{
    double work = 16.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

/* z of MR rows x 4 gates x one vector of units: the products with k0 <= k < k1, added to `begun`, where
 * they stand for k < k0, or to the bias. */
INLINE void products(const int MR, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                     ptrdiff_t k1, const real *begun, vf *acc)
{
    const rnn_memory *m = s->m;
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++)
            acc[r * 4 + gate] = v_load(k0 ? begun + (r * 4 + gate) * VL : panel + gate * VL);
    tile(MR, 4, k1 - k0, s->in + b * m->K + k0, m->K, 1, panel + (1 + k0) * 4 * VL, 4 * VL, VL, acc);
}

/* From the products to h in registers. */
INLINE void fused_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                       ptrdiff_t k0, real *begun)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 4];
    products(MR, s, b, panel, k0, a->I + a->H, begun, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        ptrdiff_t row = b + r;
        vf i = v_sigmoid(acc[r * 4]), f = v_sigmoid(acc[r * 4 + 1]);
        vf g = v_tanh(acc[r * 4 + 2]), o = v_sigmoid(acc[r * 4 + 3]);
        vf c = v_fma(f, v_load(s->before + row * m->Hp + u), v_mul(i, g));
        vf ac = v_tanh(c);
        v_store(s->after + row * m->Hp + u, c);
        if (a->tape) {
            real *gates = m->gates + (s->at + row) * m->width + u;
            put_slot(s, gates, u, i);
            put_slot(s, gates + a->H, u, f);
            put_slot(s, gates + 2 * a->H, u, g);
            put_slot(s, gates + 3 * a->H, u, o);
            v_store(m->ac + (s->at + row) * m->Hp + u, ac);
        }
        put_h(s, row, u, a->H - u, v_mul(o, ac));
    }
}

TILE_FN void fused_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                        ptrdiff_t k0, real *begun)
{
    TILE_SWITCH(rows, fused_tile, s, b, u, panel, k0, begun)
}

/* A part of the products, put aside. */
INLINE void part_tile(const int MR, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                      ptrdiff_t k1, real *begun)
{
    vf acc[TILE_MAX_ROWS * 4];
    products(MR, s, b, panel, k0, k1, begun, acc);
#pragma GCC unroll 24
    for (int i = 0; i < MR * 4; i++) v_store(begun + i * VL, acc[i]);
}

TILE_FN void part_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, const real *panel, ptrdiff_t k0,
                       ptrdiff_t k1, real *begun)
{
    TILE_SWITCH(rows, part_tile, s, b, panel, k0, k1, begun)
}

/* The same tile off the fused path: z alone. */
INLINE void z_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, real *z)
{
    const tdf_rnn *a = s->a;
    vf acc[TILE_MAX_ROWS * 4];
    products(MR, s, b, panel_of(a, u), 0, a->I + a->H, NULL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++)
            v_store(z + (b + r) * s->m->width + gate * a->H + u, acc[r * 4 + gate]);
}

TILE_FN void z_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, real *z)
{
    TILE_SWITCH(rows, z_tile, s, b, u, z)
}

/* Gates, cell and output of one row from its z, for any activation. */
static void general_row(const rnn_step *s, ptrdiff_t b, const real *z, real *gates, real *ac)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H, Hp = s->m->Hp;
    for (int gate = 0; gate < 4; gate++)
        act_forward(gate == CELL_GATE ? a->act : a->rec_act, H, z + gate * H, gates + gate * H);
    const real *i = gates, *f = gates + H, *g = gates + 2 * H, *o = gates + 3 * H;
    const real *c0 = s->before + b * Hp;
    real *c1 = s->after + b * Hp;
    for (ptrdiff_t u = 0; u < H; u += VL) {
        ptrdiff_t n = H - u;
        v_store(c1 + u, v_fma(v_get(f + u, n), v_load(c0 + u), v_mul(v_get(i + u, n), v_get(g + u, n))));
    }
    act_forward(a->act, H, c1, ac);
    for (ptrdiff_t u = 0; u < H; u += VL)
        put_h(s, b, u, H - u, v_mul(v_get(o + u, H - u), v_get(ac + u, H - u)));
}

/* One step of rows lo..hi, or of a share of their units; from the last units to the first: see put_slot. */
static void forward_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const rnn_memory *m = s->m;
    ptrdiff_t at = s->at, rows;
    if (m->fused) {
        fused_step(part_rows, fused_rows, panel_of, s, lo, hi);
        return;
    }
    for (ptrdiff_t u = last_vector(s); u >= s->u0; u -= VL)
        for (ptrdiff_t b = lo; b < hi; b += rows) {
            rows = tile_rows(hi - b, TILE_ROWS(4));
            z_rows(rows, s, b, u, m->z + at * m->width);
        }
    for (ptrdiff_t b = lo; b < hi; b++)
        general_row(s, b, m->z + (at + b) * m->width, m->gates + (at + b) * m->width,
                    m->ac + (at + b) * m->Hp);
}

static void forward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    run_forward(a, lo, hi, 0, ROUND_UP(a->H, PANEL), forward_step);
}

/* Units lo..hi of all rows. */
static void forward_units(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    run_forward(a, 0, a->B, lo, hi, forward_step);
}

void TDF_NAME(lstm_forward)(const tdf_rnn *a)
{
    double work = a->B * (double)a->T * a->H * (8.0 * (a->I + a->H) + 150);
    run_rows_or_units(forward_body, forward_units, a, work);
}

/* ------------------------------------------------------------------ backward */

/* dz of a vector of units, written over the gates. dh: the gradient of h_t. dc: of c_t, then of c_{t-1}.
 * Each line undoes the line of forward named beside it. */
INLINE void fused_dz(ptrdiff_t H, ptrdiff_t n, real *gates, const real *c0, const real *ac, const real *dh,
                     real *dc)
{
    vf one = v_set1(1);
    vf i = v_load(gates), f = v_load(gates + H), g = v_load(gates + 2 * H), o = v_load(gates + 3 * H);
    vf a = v_load(ac), d = v_load(dh), c = v_load(c0);
    vf dzo = v_mul(v_mul(d, a), v_mul(o, v_sub(one, o)));                      /* h = o a(c) */
    vf dct = v_fma(v_mul(d, o), v_fnma(a, a, one), v_load(dc));                /* a = tanh(c) */
    vf dzi = v_mul(v_mul(dct, g), v_mul(i, v_sub(one, i)));                    /* c = f c0 + i g */
    vf dzf = v_mul(v_mul(dct, c), v_mul(f, v_sub(one, f)));
    vf dzg = v_mul(v_mul(dct, i), v_fnma(g, g, one));
    v_put(gates, dzi, n);
    v_put(gates + H, dzf, n);
    v_put(gates + 2 * H, dzg, n);
    v_put(gates + 3 * H, dzo, n);
    v_store(dc, v_mul(dct, f));
}

/* The same for any activation and all units; work holds RNN_WORK Hp. */
static void general_dz(const tdf_rnn *p, real *gates, const real *z, const real *c0, const real *c1,
                       const real *ac, const real *dh, real *dc, real *work)
{
    ptrdiff_t H = p->H, Hp = ROUND_UP(H, PANEL);
    real *di = work, *df = work + Hp, *dg = work + 2 * Hp, *dout = work + 3 * Hp;
    real *da = work + 4 * Hp, *dca = work + 5 * Hp;
    const real *i = gates, *f = gates + H, *g = gates + 2 * H, *o = gates + 3 * H;
    for (ptrdiff_t u = 0; u < H; u += VL) {
        v_store(dout + u, v_mul(v_load(dh + u), v_get(ac + u, H - u)));            /* h = o a(c) */
        v_store(da + u, v_mul(v_load(dh + u), v_get(o + u, H - u)));
    }
    act_backward(p->act, H, c1, ac, da, dca);                                      /* a(c) */
    for (ptrdiff_t u = 0; u < H; u += VL) {
        ptrdiff_t n = H - u;
        vf dct = v_add(v_get(dca + u, n), v_load(dc + u));
        v_store(di + u, v_mul(dct, v_get(g + u, n)));                              /* c = f c0 + i g */
        v_store(df + u, v_mul(dct, v_load(c0 + u)));
        v_store(dg + u, v_mul(dct, v_get(i + u, n)));
        v_store(dc + u, v_mul(dct, v_get(f + u, n)));
    }
    for (int gate = 0; gate < 4; gate++) {
        real *to = gates + gate * H, *from = work + gate * Hp;
        act_backward(gate == CELL_GATE ? p->act : p->rec_act, H, z + gate * H, to, from, from);
        memcpy(to, from, (size_t)H * sizeof(real));
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    ptrdiff_t B = a->B, H = a->H, Hp = m.Hp;
    (void)part;
    start_backward(a, &w, lo, hi);
    for (ptrdiff_t t = steps_of(a, lo) - 1; t >= 0; t--) {
        ptrdiff_t end = live_end(a, lo, hi, t), first = rows_before(a, t), before = state_before(a, t);
        for (ptrdiff_t b = lo; b < end; b++) {
            back_output(a, &w, t, b);
            ptrdiff_t at = first + b;
            real *gates = m.gates + at * m.width, *dh = w.dh + b * Hp, *dc = w.dc + b * Hp;
            const real *c0 = m.state + (before + b) * Hp, *c1 = m.state + (B + at) * Hp, *ac = m.ac + at * Hp;
            real *work = w.products + b * RNN_WORK * Hp;
            if (!m.fused) general_dz(a, gates, m.z + at * m.width, c0, c1, ac, dh, dc, work);
            for (ptrdiff_t u = 0; m.fused && u < H; u += VL)
                fused_dz(H, H - u, gates + u, c0 + u, ac + u, dh + u, dc + u);
            memset(dh, 0, (size_t)Hp * sizeof(real));
        }
        back_to_state(a, &m, &w, t, 0, 4, lo, end);
        back_to_input(a, &m, &w, t, lo, end);
    }
    end_backward(a, &w, lo, hi);
}

void TDF_NAME(lstm_backward)(const tdf_rnn *a)
{
    run_backward(a, transpose_recurrent, transpose_kernel, backward_body, back_to_weights);
}
