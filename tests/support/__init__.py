"""What tests share: tiny models, texts and questions."""
