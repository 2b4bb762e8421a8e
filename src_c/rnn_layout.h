/* rnn_layout.h - where the cells' kernels keep what; sizes.c adds the same parts up.
 *
 * The tape is time-major, so one step is contiguous and a step's rows never collide in the cache:
 *   in     (T+1, B, K)        [x_t | h_{t-1} r], K = I + Hp; row T holds h_{T-1} alone
 *   gates  (T, B, width)      slots of H units after their activations; backward turns them into dz
 *   state  (T+1, B, Hp)       LSTM: c_{-1} ... c_{T-1}; GRU: h_{-1} ... h_{T-1}
 *   ac     (T, B, Hp)         LSTM: a(c_t)
 *   z      (T, B, width)      pre-activations, only where backward or another pass needs them
 * With a mask a step holds the rows alone that have one, so that all that is filled lies together. Hp is H
 * rounded up to 16; the padding holds zeros where it is read. Slots have no padding between them: the last
 * vector of one reaches into the next, and that of the last into the row's end, which is for that. Without a
 * tape all but `in`, which has two steps, has one.
 */
#ifndef TDF_RNN_LAYOUT_H
#define TDF_RNN_LAYOUT_H

#include "gemm.h"

typedef struct {
    ptrdiff_t Hp, K;            /* padded units; a row of `in` */
    ptrdiff_t width;            /* a row of `gates` and of `z` */
    real *h;                    /* (B, Hp) the state h; a GRU with a tape has it in `state` */
    real *in, *gates, *state, *ac, *z;
    int fused;                  /* no `z` */
    ptrdiff_t size;             /* elements of the tape, or of the scratch without one */
} rnn_memory;

/* Backward's scratch: the gradients of the states and of h r (each (B, Hp)), of a step's inputs (B, I), the
 * packed transposes of the weights, and gemm_tn's rows or, before them, RNN_WORK vectors a row. */
typedef struct {
    real *dh, *dc, *product, *dx, *recurrent, *kernel, *products;
    ptrdiff_t size;
} rnn_scratch;

#define RNN_WORK 6

/* A row of cells.h. */
typedef struct {
    int gates, slots, biases;
    enum { KEEPS_NOTHING, KEEPS_H, KEEPS_C } keeps;
    enum { FUSED_NONE, FUSED_BY_VALUE, FUSED_TANH_SIGMOID } fused;
} rnn_cell;

#define RNN_CELL_ROW(KIND, file, gates, slots, biases, keeps, fused)                               \
    {gates, slots, biases, KEEPS_##keeps, FUSED_##fused},
static const rnn_cell rnn_cells[] __attribute__((unused)) = {TDF_CELL_TABLE(RNN_CELL_ROW)};

INLINE ptrdiff_t rnn_gates(const tdf_rnn *a) { return rnn_cells[a->cell].gates; }
INLINE int rnn_keeps_h(const tdf_rnn *a) { return rnn_cells[a->cell].keeps == KEEPS_H; }
INLINE int rnn_keeps_c(const tdf_rnn *a) { return rnn_cells[a->cell].keeps == KEEPS_C; }

/* Elements of a row of slots. */
INLINE ptrdiff_t rnn_width(const tdf_rnn *a)
{
    return ROUND_UP((rnn_cells[a->cell].slots - 1) * a->H + ROUND_UP(a->H, PANEL), PANEL);
}

/* Whether no pre-activation is stored. The slopes of these activations follow from their values. */
INLINE int rnn_fused(const tdf_rnn *a)
{
    switch (rnn_cells[a->cell].fused) {
    case FUSED_BY_VALUE: return !tdf_act_needs_input(a->act);
    case FUSED_TANH_SIGMOID: return a->act == TDF_TANH && a->rec_act == TDF_SIGMOID;
    default: return 0;
    }
}

/* The next n elements. */
INLINE real *rnn_take(real *memory, ptrdiff_t *used, ptrdiff_t n)
{
    *used += n;
    return memory ? memory + *used - n : NULL;
}

/* The parts of `memory`, a tape if `taped`, else a scratch; of NULL for the size alone. */
INLINE rnn_memory rnn_layout_of(const tdf_rnn *a, int taped, real *memory)
{
    rnn_memory m = {.Hp = ROUND_UP(a->H, PANEL), .width = rnn_width(a), .fused = rnn_fused(a)};
    ptrdiff_t B = a->B, rows = taped ? a->T * B : B, width = m.width;
    int keeps_c = rnn_keeps_c(a), keeps = keeps_c || rnn_keeps_h(a);
    m.K = a->I + m.Hp;
    if (taped) {
        m.h = a->scratch;
        m.in = rnn_take(memory, &m.size, (rows + B) * m.K);
        m.gates = rnn_take(memory, &m.size, rows * width);
        m.state = rnn_take(memory, &m.size, keeps ? (rows + B) * m.Hp : 0);
        m.ac = rnn_take(memory, &m.size, keeps_c ? rows * m.Hp : 0);
        m.z = rnn_take(memory, &m.size, m.fused ? 0 : rows * width);
    } else {
        m.h = rnn_take(memory, &m.size, B * m.Hp);
        m.in = rnn_take(memory, &m.size, 2 * B * m.K);
        m.state = keeps_c ? rnn_take(memory, &m.size, B * m.Hp) : m.h;
        m.z = rnn_take(memory, &m.size, m.fused ? 0 : B * width);
        m.gates = rnn_take(memory, &m.size, m.fused && keeps ? 0 : B * width);
        m.ac = rnn_take(memory, &m.size, keeps_c && !m.fused ? B * m.Hp : 0);
    }
    return m;
}

INLINE rnn_memory rnn_layout(const tdf_rnn *a)
{
    return rnn_layout_of(a, a->tape != NULL, a->tape ? a->tape : a->scratch);
}

/* Scratch with a tape. Forward has its state h where dh is later. */
INLINE rnn_scratch rnn_scratch_of(const tdf_rnn *a, real *memory)
{
    rnn_scratch w = {0};
    ptrdiff_t Hp = ROUND_UP(a->H, PANEL), state = a->B * Hp, width = rnn_gates(a) * a->H;
    w.dh = rnn_take(memory, &w.size, state);
    w.dc = rnn_take(memory, &w.size, rnn_keeps_c(a) ? state : 0);
    w.product = rnn_take(memory, &w.size, state);
    w.dx = rnn_take(memory, &w.size, ROUND_UP(a->B * a->I, PANEL));
    w.recurrent = rnn_take(memory, &w.size, gemm_pack_size(width, a->H));
    w.kernel = rnn_take(memory, &w.size, gemm_pack_size(width, a->I));
    ptrdiff_t products = a->threads * gemm_tn_scratch(a->I + Hp), work = rnn_fused(a) ? 0 : RNN_WORK * state;
    w.products = rnn_take(memory, &w.size, products > work ? products : work);
    return w;
}

#endif
