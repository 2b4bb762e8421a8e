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
 * The tape (rnn_layout.h) has i f g o in `gates`, c in `state` and a(c) in `ac`.
 */
#include "rnn_common.h"

#define CELL_GATE 2             /* the gate whose activation is `act` */

/* ------------------------------------------------------------------ packing */

/* Panel p at p * (K+1) * 64 with K = I + H: the bias [4][16], then [k][4][16]. */
static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += PANEL) {
        ptrdiff_t units = H - u < PANEL ? H - u : PANEL;
        real *to = a->packed + u / PANEL * (I + H + 1) * 4 * PANEL;
        for (ptrdiff_t k = -1; k < I + H; k++) {
            const real *row = a->bias;
            if (k >= 0) row = k < I ? a->kernel + k * 4 * H : a->recurrent + (k - I) * 4 * H;
            for (int gate = 0; gate < 4; gate++, to += PANEL)
                for (ptrdiff_t j = 0; j < PANEL; j++)
                    to[j] = row && j < units ? row[gate * H + u + j] : 0;
        }
    }
}

void TDF_NAME(lstm_pack)(const tdf_rnn *a)
{
    double work = 16.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

/* MR rows x 4 gates x one vector of units from u, kept in registers from the products to h. */
INLINE void fused_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 4];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++) acc[r * 4 + gate] = v_load(panel + gate * PANEL);
    tile(MR, 4, a->I + a->H, s->in + b * m->K, m->K, 1, panel + 4 * PANEL, 4 * PANEL, PANEL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        ptrdiff_t row = b + r;
        vf i = v_sigmoid(acc[r * 4]), f = v_sigmoid(acc[r * 4 + 1]);
        vf g = v_tanh(acc[r * 4 + 2]), o = v_sigmoid(acc[r * 4 + 3]);
        vf c = v_fma(f, v_load(s->before + row * m->Hp + u), v_mul(i, g));
        vf ac = v_tanh(c);
        v_store(s->after + row * m->Hp + u, c);
        if (a->tape) {
            real *gates = m->gates + (s->at + row) * 4 * m->Hp + u;
            v_store(gates, i);
            v_store(gates + m->Hp, f);
            v_store(gates + 2 * m->Hp, g);
            v_store(gates + 3 * m->Hp, o);
            v_store(m->ac + (s->at + row) * m->Hp + u, ac);
        }
        put_h(s, row, u, a->H - u, v_mul(o, ac));
    }
}

static void fused_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    TILE_SWITCH(rows, fused_tile, s, b, u, panel)
}

/* The same tile off the fused path: z alone. */
INLINE void z_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel, real *z)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
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

static void z_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel, real *z)
{
    TILE_SWITCH(rows, z_tile, s, b, u, panel, z)
}

/* Gates, cell and output of one row from its z, for any activation. */
static void general_row(const rnn_step *s, ptrdiff_t b, const real *z, real *gates, real *ac)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H, Hp = s->m->Hp;
    for (int gate = 0; gate < 4; gate++) {
        act_forward(gate == CELL_GATE ? a->act : a->rec_act, H, z + gate * Hp, gates + gate * Hp);
        for (ptrdiff_t u = H; u < Hp; u++) gates[gate * Hp + u] = 0;
    }
    const real *i = gates, *f = gates + Hp, *g = gates + 2 * Hp, *o = gates + 3 * Hp;
    const real *c0 = s->before + b * Hp;
    real *c1 = s->after + b * Hp;
    for (ptrdiff_t u = 0; u < Hp; u += VL)
        v_store(c1 + u, v_fma(v_load(f + u), v_load(c0 + u), v_mul(v_load(i + u), v_load(g + u))));
    act_forward(a->act, H, c1, ac);
    for (ptrdiff_t u = H; u < Hp; u++) ac[u] = 0;
    for (ptrdiff_t u = 0; u < Hp; u += VL)
        put_h(s, b, u, H - u, u < H ? v_mul(v_load(o + u), v_load(ac + u)) : v_zero());
}

/* One step of rows lo..hi, or of a share of their units. */
static void forward_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    ptrdiff_t panel_size = (a->I + a->H + 1) * 4 * PANEL;
    real *z = m->z + (m->fused ? 0 : s->at * 4 * m->Hp);
    for (ptrdiff_t p = s->u0 / PANEL; p < s->u1 / PANEL; p++)
        for (ptrdiff_t b = lo; b < hi; b += TILE_ROWS(4)) {
            ptrdiff_t rows = hi - b < TILE_ROWS(4) ? hi - b : TILE_ROWS(4), u = p * PANEL;
            const real *panel = a->packed + p * panel_size;
            for (ptrdiff_t v = 0; v < PANEL; v += VL) {
                if (m->fused) fused_rows(rows, s, b, u + v, panel + v);
                else z_rows(rows, s, b, u + v, panel + v, z);
            }
        }
    if (m->fused) return;
    for (ptrdiff_t b = lo; b < hi; b++) {
        ptrdiff_t at = s->at + b;
        general_row(s, b, z + b * 4 * m->Hp, m->gates + at * 4 * m->Hp, m->ac + at * m->Hp);
    }
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

/* The same for any activation; work holds RNN_WORK Hp. */
static void general_dz(const tdf_rnn *p, ptrdiff_t Hp, real *gates, const real *z, const real *c0,
                       const real *c1, const real *ac, const real *dh, real *dc, real *work)
{
    ptrdiff_t H = p->H;
    real *di = work, *df = work + Hp, *dg = work + 2 * Hp, *dout = work + 3 * Hp;
    real *da = work + 4 * Hp, *dca = work + 5 * Hp;
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
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    ptrdiff_t B = a->B, Hp = m.Hp;
    (void)part;
    start_backward(a, &w, lo, hi);
    for (ptrdiff_t t = steps_of(a, lo) - 1; t >= 0; t--) {
        ptrdiff_t end = live_end(a, lo, hi, t), first = rows_before(a, t), before = state_before(a, t);
        for (ptrdiff_t b = lo; b < end; b++) {
            back_output(a, &w, t, b);
            ptrdiff_t at = first + b;
            real *gates = m.gates + at * 4 * Hp, *dh = w.dh + b * Hp, *dc = w.dc + b * Hp;
            const real *c0 = m.state + (before + b) * Hp, *c1 = m.state + (B + at) * Hp, *ac = m.ac + at * Hp;
            real *work = w.products + b * RNN_WORK * Hp;
            if (m.fused) fused_dz(Hp, gates, c0, ac, dh, dc);
            else general_dz(a, Hp, gates, m.z + at * 4 * Hp, c0, c1, ac, dh, dc, work);
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
