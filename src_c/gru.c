/* gru.c - gated recurrent unit over whole sequences (Cho et al. 2014).
 *
 *   [xz xr xc] = x_t W + b             [qz qr q] = (h_{t-1} d) U + b'      d: recurrent dropout, or 1
 *   z = s(xz + qz)  r = s(xr + qr)                         s: rec_act (sigmoid), a: act (tanh)
 *   c = a(xc + r q)                    reset_after, or
 *   c = a(xc + (r h_{t-1} d) Uc)       without it (there is no b' then)
 *   h_t = z h_{t-1} + (1 - z) c
 *
 * A tile holds some rows x [z r xc q] x one vector of units in registers. With reset_after, tanh and
 * sigmoid (the fused path) both products and the gates happen there, and pre-activations never touch
 * memory. Elsewhere they are stored, act.h is applied to whole rows, and without reset_after a second
 * product with Uc follows the gates.
 *
 * The tape (rnn_layout.h) has c z r q in `gates`, xc z r q in `z` and h in `state`. Backward makes
 * dxc dz dr dq of the gates, so that the first three slots are the gradient of x W and the last three that
 * of h U. Without reset_after the last slot is r h d: what Uc was multiplied with.
 */
#include "rnn_common.h"

enum { SLOT_C, SLOT_Z, SLOT_R, SLOT_Q };

/* Whether the reset gate comes after the recurrent product. */
INLINE int reset_after(const tdf_rnn *a) { return a->cell == TDF_GRU; }

/* ------------------------------------------------------------------ packing */

/* A panel of 16 units: the starts of [z r xc q] (the bias), then [k][3 gates][16], k over the inputs
 * and then the hidden units. */
static ptrdiff_t panel_size(const tdf_rnn *a) { return (4 + 3 * (a->I + a->H)) * PANEL; }

static void pack_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    ptrdiff_t H = a->H, I = a->I;
    (void)part;
    for (ptrdiff_t u = lo; u < hi; u += PANEL) {
        real *to = a->packed + u / PANEL * panel_size(a);
        memset(to, 0, (size_t)panel_size(a) * sizeof(real));
        for (ptrdiff_t j = 0; j < PANEL && u + j < H; j++) {
            const real *bias = a->bias ? a->bias + u + j : NULL;
            const real *after = bias && reset_after(a) ? bias + 3 * H : NULL;
            for (int gate = 0; bias && gate < 3; gate++) to[gate * PANEL + j] = bias[gate * H];
            if (!after) continue;
            to[j] += after[0];
            to[PANEL + j] += after[H];
            to[3 * PANEL + j] = after[2 * H];
        }
        to += 4 * PANEL;
        for (ptrdiff_t k = 0; k < I + H; k++) {
            const real *row = k < I ? a->kernel + k * 3 * H : a->recurrent + (k - I) * 3 * H;
            for (int gate = 0; gate < 3; gate++, to += PANEL)
                for (ptrdiff_t j = 0; j < PANEL && u + j < H; j++) to[j] = row[gate * H + u + j];
        }
    }
}

void TDF_NAME(gru_pack)(const tdf_rnn *a)
{
    double work = 12.0 * (a->I + a->H) * a->H;
    span_run(pack_body, a, a->H, PANEL, span_threads(work, a->threads));
}

/* ------------------------------------------------------------------ forward */

/* acc[r] = [z r q] and xc[r] of MR rows x one vector of units; q only with GATES = 3. */
INLINE void products(const int MR, const int GATES, const rnn_step *s, ptrdiff_t b, const real *panel,
                     vf *acc, vf *xc)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    const real *in = s->in + b * m->K;
    vf x[TILE_MAX_ROWS * 3];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 3
        for (int gate = 0; gate < 3; gate++) x[r * 3 + gate] = v_load(panel + gate * PANEL);
    tile(MR, 3, a->I, in, m->K, 1, panel + 4 * PANEL, 3 * PANEL, PANEL, x);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        acc[r * GATES] = x[r * 3];
        acc[r * GATES + 1] = x[r * 3 + 1];
        xc[r] = x[r * 3 + 2];
        if (GATES == 3) acc[r * 3 + 2] = v_load(panel + 3 * PANEL);
    }
    tile(MR, GATES, a->H, in + a->I, m->K, 1, panel + (4 + 3 * a->I) * PANEL, 3 * PANEL, PANEL, acc);
}

/* From the products to h in registers. */
INLINE void fused_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    vf acc[TILE_MAX_ROWS * 3], xc[TILE_MAX_ROWS], one = v_set1(1);
    products(MR, 3, s, b, panel, acc, xc);
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++) {
        ptrdiff_t row = b + i;
        vf z = v_sigmoid(acc[i * 3]), r = v_sigmoid(acc[i * 3 + 1]), q = acc[i * 3 + 2];
        vf c = v_tanh(v_fma(r, q, xc[i]));
        if (a->tape) {
            real *gates = m->gates + (s->at + row) * 4 * m->Hp + u;
            v_store(gates + SLOT_C * m->Hp, c);
            v_store(gates + SLOT_Z * m->Hp, z);
            v_store(gates + SLOT_R * m->Hp, r);
            v_store(gates + SLOT_Q * m->Hp, q);
        }
        put_h(s, row, u, a->H - u, v_fma(z, v_load(s->before + row * m->Hp + u), v_mul(v_sub(one, z), c)));
    }
}

static void fused_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel)
{
    TILE_SWITCH(rows, fused_tile, s, b, u, panel)
}

/* Off the fused path: the pre-activations alone. */
INLINE void z_tile(const int MR, const int GATES, const rnn_step *s, ptrdiff_t b, ptrdiff_t u,
                   const real *panel, real *z)
{
    ptrdiff_t Hp = s->m->Hp;
    vf acc[TILE_MAX_ROWS * 3], xc[TILE_MAX_ROWS];
    products(MR, GATES, s, b, panel, acc, xc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) {
        real *to = z + (b + r) * 4 * Hp + u;
        v_store(to + SLOT_C * Hp, xc[r]);
        v_store(to + SLOT_Z * Hp, acc[r * GATES]);
        v_store(to + SLOT_R * Hp, acc[r * GATES + 1]);
        if (GATES == 3) v_store(to + SLOT_Q * Hp, acc[r * 3 + 2]);
    }
}

static void z_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel, real *z)
{
    if (reset_after(s->a)) TILE_SWITCH(rows, z_tile, 3, s, b, u, panel, z)
    else TILE_SWITCH(rows, z_tile, 2, s, b, u, panel, z)
}

/* xc += (r h d) Uc, the left side being the last slot of the gates. */
INLINE void reset_tile(const int MR, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                       const real *gates, real *z)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t Hp = s->m->Hp;
    vf acc[TILE_MAX_ROWS];
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) acc[r] = v_load(z + ((b + r) * 4 + SLOT_C) * Hp + u);
    const real *candidate = panel + (4 + 3 * a->I + 2) * PANEL;
    tile(MR, 1, a->H, gates + (b * 4 + SLOT_Q) * Hp, 4 * Hp, 1, candidate, 3 * PANEL, PANEL, acc);
#pragma GCC unroll 6
    for (int r = 0; r < MR; r++) v_store(z + ((b + r) * 4 + SLOT_C) * Hp + u, acc[r]);
}

static void reset_rows(ptrdiff_t rows, const rnn_step *s, ptrdiff_t b, ptrdiff_t u, const real *panel,
                       const real *gates, real *z)
{
    TILE_SWITCH(rows, reset_tile, s, b, u, panel, gates, z)
}

static void activate(int act, ptrdiff_t H, ptrdiff_t Hp, const real *x, real *y)
{
    act_forward(act, H, x, y);
    for (ptrdiff_t u = H; u < Hp; u++) y[u] = 0;
}

/* The gates of one row from its z, and what the candidate adds to xc or multiplies with Uc. */
static void general_gates(const rnn_step *s, ptrdiff_t b, real *z, real *gates)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H, Hp = s->m->Hp;
    const real *r = gates + SLOT_R * Hp, *q = z + SLOT_Q * Hp, *in = s->in + b * s->m->K + a->I;
    real *xc = z + SLOT_C * Hp, *rh = gates + SLOT_Q * Hp;
    activate(a->rec_act, H, Hp, z + SLOT_Z * Hp, gates + SLOT_Z * Hp);
    activate(a->rec_act, H, Hp, z + SLOT_R * Hp, gates + SLOT_R * Hp);
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        if (reset_after(a)) v_store(xc + u, v_fma(v_load(r + u), v_load(q + u), v_load(xc + u)));
        else v_store(rh + u, v_mul(v_load(r + u), v_load(in + u)));
    }
}

/* The candidate and h of one row. */
static void general_h(const rnn_step *s, ptrdiff_t b, const real *xc, real *gates)
{
    const tdf_rnn *a = s->a;
    ptrdiff_t H = a->H, Hp = s->m->Hp;
    const real *c = gates + SLOT_C * Hp, *z = gates + SLOT_Z * Hp, *h0 = s->before + b * Hp;
    vf one = v_set1(1);
    activate(a->act, H, Hp, xc, gates + SLOT_C * Hp);
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        vf gate = v_load(z + u), fresh = v_mul(v_sub(one, gate), v_load(c + u));
        put_h(s, b, u, H - u, v_fma(gate, v_load(h0 + u), fresh));
    }
}

static void general_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_rnn *a = s->a;
    const rnn_memory *m = s->m;
    ptrdiff_t width = 4 * m->Hp, at = s->at * width, high = TILE_ROWS(4);
    real *z = m->z + at, *gates = m->gates + at;
    for (ptrdiff_t u = 0; u < m->Hp; u += VL)
        for (ptrdiff_t b = lo; b < hi; b += high) {
            ptrdiff_t rows = hi - b < high ? hi - b : high;
            z_rows(rows, s, b, u, a->packed + u / PANEL * panel_size(a) + u % PANEL, z);
        }
    for (ptrdiff_t b = lo; b < hi; b++) general_gates(s, b, z + b * width, gates + b * width);
    for (ptrdiff_t u = 0; u < m->Hp && !reset_after(a); u += VL)
        for (ptrdiff_t b = lo; b < hi; b += high) {
            ptrdiff_t rows = hi - b < high ? hi - b : high;
            reset_rows(rows, s, b, u, a->packed + u / PANEL * panel_size(a) + u % PANEL, gates, z);
        }
    for (ptrdiff_t b = lo; b < hi; b++) general_h(s, b, z + b * width + SLOT_C * m->Hp, gates + b * width);
}

/* One step of rows lo..hi, or of a share of their units. */
static void forward_step(const rnn_step *s, ptrdiff_t lo, ptrdiff_t hi)
{
    const tdf_rnn *a = s->a;
    if (!s->m->fused) {
        general_step(s, lo, hi);
        return;
    }
    for (ptrdiff_t u = s->u0; u < s->u1; u += PANEL)
        for (ptrdiff_t b = lo; b < hi; b += TILE_ROWS(4)) {
            ptrdiff_t rows = hi - b < TILE_ROWS(4) ? hi - b : TILE_ROWS(4);
            for (ptrdiff_t v = 0; v < PANEL; v += VL)
                fused_rows(rows, s, b, u + v, a->packed + u / PANEL * panel_size(a) + v);
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

void TDF_NAME(gru_forward)(const tdf_rnn *a)
{
    double work = a->B * (double)a->T * a->H * (6.0 * (a->I + a->H) + 100);
    run_rows_or_units(forward_body, forward_units, a, work);
}

/* ------------------------------------------------------------------ backward */

/* U^T of z, r and, with reset_after, q; without it that of Uc stands alone behind them. */
static real *candidate_transpose(const tdf_rnn *a, const rnn_scratch *w)
{
    return w->recurrent + gemm_pack_size(2 * ROUND_UP(a->H, PANEL), a->H);
}

static void pack_recurrent(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    (void)part;
    pack_gates_transpose(a, a->H, a->recurrent, 0, reset_after(a) ? 3 : 2, w.recurrent, lo, hi);
    if (!reset_after(a))
        pack_gates_transpose(a, a->H, a->recurrent, 2, 1, candidate_transpose(a, &w), lo, hi);
}

/* W^T in the order of the slots: c, z, r. */
static void pack_kernel(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    (void)part;
    pack_gates_transpose(a, a->I, a->kernel, 2, 3, rnn_scratch_of(a, a->scratch).kernel, lo, hi);
}

/* dz of one row and step, written over the gates. dh: the gradient of h_t, then what of h_{t-1}'s comes
 * past the products. Each line undoes the line of forward named beside it. */
static void fused_dz(ptrdiff_t Hp, real *gates, const real *h0, real *dh)
{
    vf one = v_set1(1);
    for (ptrdiff_t u = 0; u < Hp; u += VL) {
        vf c = v_load(gates + SLOT_C * Hp + u), z = v_load(gates + SLOT_Z * Hp + u);
        vf r = v_load(gates + SLOT_R * Hp + u), q = v_load(gates + SLOT_Q * Hp + u), d = v_load(dh + u);
        vf dc = v_mul(v_mul(d, v_sub(one, z)), v_fnma(c, c, one));                 /* h = z h0 + (1 - z) c */
        vf dz = v_mul(v_mul(d, v_sub(v_load(h0 + u), c)), v_mul(z, v_sub(one, z)));
        vf dr = v_mul(v_mul(dc, q), v_mul(r, v_sub(one, r)));                      /* c = a(xc + r q) */
        v_store(gates + SLOT_C * Hp + u, dc);
        v_store(gates + SLOT_Z * Hp + u, dz);
        v_store(gates + SLOT_R * Hp + u, dr);
        v_store(gates + SLOT_Q * Hp + u, v_mul(dc, r));
        v_store(dh + u, v_mul(d, z));
    }
}

/* y's gradient `d` becomes that of its pre-activation x, and takes y's place. */
static void slot_dz(int act, ptrdiff_t H, ptrdiff_t Hp, const real *x, real *y, real *d)
{
    act_backward(act, H, x, y, d, d);
    copy_padded(y, d, H, Hp);
}

/* The same for any activation, up to what comes through the reset gate; work holds RNN_WORK Hp. */
static void general_dz(const tdf_rnn *a, ptrdiff_t Hp, real *gates, const real *pre, const real *h0, real *dh,
                       real *work)
{
    ptrdiff_t H = a->H;
    real *dc = work, *dz = work + Hp, *dr = work + 2 * Hp;
    real *c = gates + SLOT_C * Hp, *z = gates + SLOT_Z * Hp;
    real *r = gates + SLOT_R * Hp, *q = gates + SLOT_Q * Hp;
    vf one = v_set1(1);
    for (ptrdiff_t u = 0; u < Hp; u += VL) {                                       /* h = z h0 + (1 - z) c */
        vf d = v_load(dh + u), gate = v_load(z + u);
        v_store(dc + u, v_mul(d, v_sub(one, gate)));
        v_store(dz + u, v_mul(d, v_sub(v_load(h0 + u), v_load(c + u))));
        v_store(dh + u, v_mul(d, gate));
    }
    slot_dz(a->act, H, Hp, pre + SLOT_C * Hp, c, dc);
    slot_dz(a->rec_act, H, Hp, pre + SLOT_Z * Hp, z, dz);
    if (!reset_after(a)) return;
    for (ptrdiff_t u = 0; u < Hp; u += VL) {                                       /* c = a(xc + r q) */
        v_store(dr + u, v_mul(v_load(c + u), v_load(pre + SLOT_Q * Hp + u)));
        v_store(q + u, v_mul(v_load(c + u), v_load(r + u)));
    }
    slot_dz(a->rec_act, H, Hp, pre + SLOT_R * Hp, r, dr);
}

/* Without reset_after: c = a(xc + (r h d) Uc) undone, after the lines above. */
static void back_reset(const tdf_rnn *a, const rnn_memory *m, const rnn_scratch *w, ptrdiff_t t,
                       ptrdiff_t lo, ptrdiff_t hi)
{
    ptrdiff_t H = a->H, Hp = m->Hp, width = 4 * Hp, at = rows_before(a, t);
    const real *dc = m->gates + (at + lo) * width + SLOT_C * Hp;
    gemm_nn_args g = {.M = hi - lo, .K = Hp, .N = H, .a = dc, .ar = width, .b = candidate_transpose(a, w),
                      .c = w->products + lo * RNN_WORK * Hp, .cr = RNN_WORK * Hp};
    TDF_NAME(gemm_nn)(&g);                                                         /* of r h d */
    for (ptrdiff_t b = lo; b < hi; b++) {
        real *work = w->products + b * RNN_WORK * Hp, *dr = work + Hp, *dh = w->dh + b * Hp;
        real *r = m->gates + (at + b) * width + SLOT_R * Hp;
        const real *in = m->in + (at + b) * m->K + a->I;
        for (ptrdiff_t u = 0; u < H; u += VL) {
            ptrdiff_t n = H - u;
            vf d = v_get(work + u, n), back = v_mul(d, v_get(r + u, n));
            v_put(dr + u, v_mul(d, v_get(in + u, n)), n);
            if (a->rec_drop) back = v_mul(back, v_get(a->rec_drop + row_of(a, b) * H + u, n));
            v_put(dh + u, v_add(v_get(dh + u, n), back), n);
        }
        slot_dz(a->rec_act, H, Hp, m->z + (at + b) * width + SLOT_R * Hp, r, dr);
    }
}

static void backward_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    rnn_scratch w = rnn_scratch_of(a, a->scratch);
    ptrdiff_t Hp = m.Hp;
    (void)part;
    start_backward(a, &w, lo, hi);
    for (ptrdiff_t t = steps_of(a, lo) - 1; t >= 0; t--) {
        ptrdiff_t end = live_end(a, lo, hi, t), first = rows_before(a, t), before = state_before(a, t);
        for (ptrdiff_t b = lo; b < end; b++) {
            back_output(a, &w, t, b);
            ptrdiff_t at = first + b;
            real *gates = m.gates + at * 4 * Hp, *dh = w.dh + b * Hp;
            const real *h0 = m.state + (before + b) * Hp;
            if (m.fused) fused_dz(Hp, gates, h0, dh);
            else general_dz(a, Hp, gates, m.z + at * 4 * Hp, h0, dh, w.products + b * RNN_WORK * Hp);
        }
        if (!reset_after(a)) back_reset(a, &m, &w, t, lo, end);
        back_to_state(a, &m, &w, t, SLOT_Z, reset_after(a) ? 3 : 2, lo, end);
        back_to_input(a, &m, &w, t, lo, end);
    }
    end_backward(a, &w, lo, hi);
}

static void weights_body(const void *args, ptrdiff_t lo, ptrdiff_t hi, int part)
{
    const tdf_rnn *a = args;
    rnn_memory m = rnn_layout(a);
    real *scratch = rnn_scratch_of(a, a->scratch).products + part * gemm_tn_scratch(m.K);
    const real *h = m.in + a->I, *rh = m.gates + SLOT_Q * m.Hp;
    real *after = a->dbias && reset_after(a) ? a->dbias + 3 * a->H : NULL;
    weight_columns x_zr = {m.in, m.K, a->I, a->dkernel, a->dbias, 0, SLOT_Z, 2};
    weight_columns x_c = {m.in, m.K, a->I, a->dkernel, a->dbias, 2, SLOT_C, 1};
    weight_columns h_zrq = {h, m.K, a->H, a->drecurrent, after, 0, SLOT_Z, reset_after(a) ? 3 : 2};
    weight_columns rh_c = {rh, 4 * m.Hp, a->H, a->drecurrent, NULL, 2, SLOT_C, 1};
    back_to_weight(a, &m, scratch, lo, hi, x_zr);
    back_to_weight(a, &m, scratch, lo, hi, x_c);
    back_to_weight(a, &m, scratch, lo, hi, h_zrq);
    if (!reset_after(a)) back_to_weight(a, &m, scratch, lo, hi, rh_c);
}

void TDF_NAME(gru_backward)(const tdf_rnn *a)
{
    run_backward(a, pack_recurrent, pack_kernel, backward_body, weights_body);
}
