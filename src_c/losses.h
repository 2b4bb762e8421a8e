/* losses.h - the table of the losses and accuracies. A new one is a row here, and in loss.c a case of
 * `element` or a function of its name.
 *
 *   MEAN(KIND, cost)        a mean over a row's elements (of KL their sum), a case of `element`
 *   ROW(KIND, name, cost)   a whole row: the function <name>
 *
 * cost: of an element, in operations: FEW, or MANY of those with a logarithm.
 */
#ifndef TDF_LOSSES_H
#define TDF_LOSSES_H

#define TDF_LOSS_TABLE(MEAN, ROW)                                                                  \
    MEAN(MSE, FEW)                                                                                 \
    MEAN(MAE, FEW)                                                                                 \
    MEAN(HUBER, FEW)                                                                               \
    MEAN(MAPE, FEW)                                                                                \
    MEAN(HINGE, FEW)                                                                               \
    MEAN(SQUARED_HINGE, FEW)                                                                       \
    MEAN(QUANTILE, FEW)                                                                            \
    MEAN(LOG_COSH, MANY)                                                                           \
    MEAN(MSLE, MANY)                                                                               \
    MEAN(POISSON, MANY)                                                                            \
    MEAN(KL, MANY)                                                                                 \
    MEAN(BINARY, MANY)                                                                             \
    MEAN(BINARY_LOGITS, MANY)                                                                      \
    ROW(CATEGORICAL, categorical, MANY)                                                            \
    ROW(CATEGORICAL_LOGITS, categorical_logits, MANY)                                              \
    ROW(SPARSE, sparse, FEW)                                                                       \
    ROW(SPARSE_LOGITS, sparse_logits, MANY)                                                        \
    MEAN(MATCH_BINARY, FEW)                                                                        \
    ROW(MATCH_CATEGORICAL, match, FEW)                                                             \
    ROW(MATCH_SPARSE, match, FEW)

#define TDF_LOSS_VALUE(KIND, ...) TDF_LOSS_##KIND,
typedef enum { TDF_LOSS_TABLE(TDF_LOSS_VALUE, TDF_LOSS_VALUE) TDF_LOSSES } tdf_loss_kind;
#undef TDF_LOSS_VALUE

#endif
