/** The example that the page opens with; tools/opening.py computes it. */

export const OPENING = {
  "H": 176,
  "W": 256,
  "grid": [
    11,
    16
  ],
  "original": "/static/opening/original.webp",
  "results": [
    {
      "method": "pyramid_bilateral",
      "settings": {},
      "image": "/static/opening/pyramid_bilateral.webp",
      "shown": "means",
      "psnr": {
        "means": 39.13,
        "samples": 25.21
      },
      "iterations": 0,
      "seconds": 0.1
    },
    {
      "method": "bilinear",
      "settings": {},
      "image": "/static/opening/bilinear.webp",
      "shown": "means",
      "psnr": {
        "means": 22.08,
        "samples": 21.66
      },
      "iterations": 0,
      "seconds": 0.0
    },
    {
      "method": "bicubic",
      "settings": {},
      "image": "/static/opening/bicubic.webp",
      "shown": "means",
      "psnr": {
        "means": 22.55,
        "samples": 21.25
      },
      "iterations": 0,
      "seconds": 0.0
    },
    {
      "method": "upsample_anything",
      "settings": {
        "preset": "spec"
      },
      "image": "/static/opening/spec.webp",
      "shown": "samples",
      "psnr": {
        "means": 24.71,
        "samples": 29.07
      },
      "iterations": 50,
      "seconds": 0.9
    },
    {
      "method": "upsample_anything",
      "settings": {
        "preset": "paper"
      },
      "image": "/static/opening/paper.webp",
      "shown": "samples",
      "psnr": {
        "means": 27.07,
        "samples": 37.11
      },
      "iterations": 51,
      "seconds": 1.5
    }
  ]
};
