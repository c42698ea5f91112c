"""Other people's training loops: one added line compresses what they train to a target.

``nasc.adapters.lightning.Compress`` and ``nasc.adapters.hugging_face.Compress`` are callbacks; both need the package whose
loop they join.
"""
