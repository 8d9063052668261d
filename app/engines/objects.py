"""The detectors of everyday objects. All of them know persons by the label `person`."""

from app.engines.detections import LOWEST_CONFIDENCE, MOST_DETECTIONS
from app.engines.detr import D_FINE_MEDIUM, D_FINE_NANO, D_FINE_SMALL, RT_DETR_V2_R18
from app.engines.torchvision_detectors import (
    FASTER_RCNN,
    FASTER_RCNN_MOBILENET_320,
    FASTER_RCNN_V2,
    SSDLITE,
)

__all__ = ["LOWEST_CONFIDENCE", "MOST_DETECTIONS", "OBJECT_DETECTORS"]

# In order of preference.
OBJECT_DETECTORS = (
    D_FINE_NANO,
    D_FINE_SMALL,
    D_FINE_MEDIUM,
    RT_DETR_V2_R18,
    FASTER_RCNN,
    FASTER_RCNN_V2,
    FASTER_RCNN_MOBILENET_320,
    SSDLITE,
)
