"""Sequence models as estimators of scikit-learn: in its pipelines, searches and cross-validation.

It needs the package scikit-learn: ``pip install 'tdfast[sklearn]'``. See docs/sklearn.md.
"""

from tdfast.sklearn.classifier import SequenceClassifier
from tdfast.sklearn.regressor import SequenceRegressor
from tdfast.sklearn.scaler import SeriesScaler

__all__ = ["SequenceClassifier", "SequenceRegressor", "SeriesScaler"]
