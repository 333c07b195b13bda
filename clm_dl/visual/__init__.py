"""What people look at: terminal table, figures, TensorBoard, HTML report, model card."""
