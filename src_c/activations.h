/* activations.h - the table of the activations, from which their numbers, the switches of act.h and the names
 * that Python knows are made. A new one is a row here, and two functions in act.h.
 *
 *   EACH(KIND, name, by)    each element for itself: act_<name>(x) and act_<name>_slope(x, y)
 *   ROW(KIND, name, by)     a row as one distribution: act_<name>(N, x, y) and
 *                           act_<name>_backward(N, y, dy, dx)
 *
 * by: what the gradient is made of: BY_OUTPUT, or BY_INPUT where the output is not enough.
 */
#ifndef TDF_ACTIVATIONS_H
#define TDF_ACTIVATIONS_H

#define TDF_ACTIVATION_TABLE(EACH, ROW)                                                            \
    EACH(LINEAR, linear, BY_OUTPUT)                                                                \
    EACH(TANH, tanh, BY_OUTPUT)                                                                    \
    EACH(SIGMOID, sigmoid, BY_OUTPUT)                                                              \
    EACH(RELU, relu, BY_OUTPUT)                                                                    \
    EACH(RELU6, relu6, BY_OUTPUT)                                                                  \
    EACH(LEAKY_RELU, leaky_relu, BY_OUTPUT)                                                        \
    EACH(ELU, elu, BY_OUTPUT)                                                                      \
    EACH(SELU, selu, BY_OUTPUT)                                                                    \
    EACH(CELU, celu, BY_OUTPUT)                                                                    \
    EACH(SOFTPLUS, softplus, BY_OUTPUT)                                                            \
    EACH(SOFTSIGN, softsign, BY_INPUT)                                                             \
    EACH(EXPONENTIAL, exponential, BY_OUTPUT)                                                      \
    EACH(HARD_SIGMOID, hard_sigmoid, BY_OUTPUT)                                                    \
    EACH(HARD_SILU, hard_silu, BY_INPUT)                                                           \
    EACH(HARD_TANH, hard_tanh, BY_INPUT)                                                           \
    EACH(HARD_SHRINK, hard_shrink, BY_OUTPUT)                                                      \
    EACH(SOFT_SHRINK, soft_shrink, BY_OUTPUT)                                                      \
    EACH(TANH_SHRINK, tanh_shrink, BY_INPUT)                                                       \
    EACH(SILU, silu, BY_INPUT)                                                                     \
    EACH(GELU, gelu, BY_INPUT)                                                                     \
    EACH(GELU_TANH, gelu_tanh, BY_INPUT)                                                           \
    EACH(MISH, mish, BY_INPUT)                                                                     \
    EACH(LOG_SIGMOID, log_sigmoid, BY_OUTPUT)                                                      \
    EACH(SQUAREPLUS, squareplus, BY_INPUT)                                                         \
    EACH(SPARSE_PLUS, sparse_plus, BY_INPUT)                                                       \
    EACH(SPARSE_SIGMOID, sparse_sigmoid, BY_INPUT)                                                 \
    ROW(SOFTMAX, softmax, BY_OUTPUT)                                                               \
    ROW(LOG_SOFTMAX, log_softmax, BY_OUTPUT)                                                       \
    ROW(SPARSEMAX, sparsemax, BY_OUTPUT)

#define TDF_ACT_VALUE(KIND, name, by) TDF_##KIND,
typedef enum { TDF_ACTIVATION_TABLE(TDF_ACT_VALUE, TDF_ACT_VALUE) TDF_ACTIVATIONS } tdf_activation;
#undef TDF_ACT_VALUE

/* Whether the gradient needs the input; elsewhere the output is enough. */
static inline int tdf_act_needs_input(int kind)
{
    enum { BY_OUTPUT, BY_INPUT };
    switch (kind) {
#define TDF_ACT_BY(KIND, name, by) case TDF_##KIND: return by;
    TDF_ACTIVATION_TABLE(TDF_ACT_BY, TDF_ACT_BY)
#undef TDF_ACT_BY
    default: return 0;
    }
}

/* Whether the activation acts on a whole row instead of on each element. */
static inline int tdf_act_is_row(int kind)
{
    switch (kind) {
#define TDF_ACT_EACH(KIND, name, by)
#define TDF_ACT_ROW(KIND, name, by) case TDF_##KIND: return 1;
    TDF_ACTIVATION_TABLE(TDF_ACT_EACH, TDF_ACT_ROW)
#undef TDF_ACT_EACH
#undef TDF_ACT_ROW
    default: return 0;
    }
}

#endif
