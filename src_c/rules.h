/* rules.h - the table of the optimizers' rules. A new one is a row here and a function of optim.c, which says
 * what its slots and numbers are.
 *
 *   RULE      its number is TDF_<RULE>
 *   rule      the function of optim.c
 */
#ifndef TDF_RULES_H
#define TDF_RULES_H

#define TDF_RULE_TABLE(X)                                                                          \
    X(SGD, sgd)                                                                                    \
    X(ADAM, adam)                                                                                  \
    X(RMSPROP, rmsprop)                                                                            \
    X(ADAGRAD, adagrad)                                                                            \
    X(ADADELTA, adadelta)                                                                          \
    X(ADAMAX, adamax)                                                                              \
    X(NADAM, nadam)                                                                                \
    X(FTRL, ftrl)                                                                                  \
    X(LION, lion)                                                                                  \
    X(LAMB, lamb)                                                                                  \
    X(SCHEDULE_FREE, schedule_free)                                                                \
    X(AVERAGE, average)

#define TDF_RULE_VALUE(RULE, rule) TDF_##RULE,
typedef enum { TDF_RULE_TABLE(TDF_RULE_VALUE) TDF_RULES } tdf_rule;
#undef TDF_RULE_VALUE

#endif
