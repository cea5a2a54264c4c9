"""Scores masks that were made elsewhere: a COCO result file against an annotation file. numpy and pycocotools, no torch."""

from shared.picosam.predictions.files import BadPredictions
from shared.picosam.predictions.scoring import Scored, score_predictions

__all__ = ["BadPredictions", "Scored", "score_predictions"]
